"""Benchmarks, one per module: `./souk bench NAME` runs `python -m bench.NAME` on temporary servers.

Each measures a baseline and our code in one run, and prints both with their ratio. None asserts a time.
"""

ON_INSTALLATION = frozenset({"orders"})
"""Those that need a whole installation."""
