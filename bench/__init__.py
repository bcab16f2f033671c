"""Benchmarks, one module each: `./souk bench NAME` runs `python -m bench.NAME` on servers of its own.

Each measures a baseline and ours in the same run and prints both with their ratio. Nothing here asserts a time.
"""

ON_INSTALLATION = frozenset({"orders"})
"""The ones that want the whole of Souk running, not only its servers."""
