"""The commands of `./souk`, one module a topic. Importing this package registers them all."""

from launcher.commands import (
    bench,
    chaos,
    development,
    drill,
    keys,
    lifecycle,
    scaling,
    stock,
)

__all__ = [
    "bench",
    "chaos",
    "development",
    "drill",
    "keys",
    "lifecycle",
    "scaling",
    "stock",
]
