"""Many products at once, in requests and files."""
