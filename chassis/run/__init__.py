"""A service, its processes and its dead letters."""
