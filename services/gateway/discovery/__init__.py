"""A target's current addresses."""
