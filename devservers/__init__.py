"""Stand-in bank and mail server for development; no service imports them."""
