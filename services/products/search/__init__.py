"""Product search, from an index file."""
