"""Benchmarks: `./souk bench NAME` runs `python -m bench.NAME` on temporary servers."""

ON_INSTALLATION = frozenset({"api", "console", "instances", "orders", "users"})
"""They need a whole installation."""
