"""Orders of different users in different databases. See docs/decisions/0057-sharding-orders-by-user.md."""
