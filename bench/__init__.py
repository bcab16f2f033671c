"""Benchmarks: `./souk bench NAME` runs `python -m bench.NAME` on temporary servers."""

ON_INSTALLATION = frozenset({"orders"})
"""They need a whole installation."""
