"""Load balancing and health checks."""
