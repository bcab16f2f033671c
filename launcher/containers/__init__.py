"""Temporary servers in containers, for `./souk test --servers=...`."""
