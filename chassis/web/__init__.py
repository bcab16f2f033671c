"""A service's HTTP edge."""
