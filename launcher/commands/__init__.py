"""The commands of `./souk`, one module a topic. Importing this package registers them all."""

from launcher.commands import (
    bench,
    chaos,
    dead,
    development,
    drill,
    keys,
    lifecycle,
    payments,
    products,
    scaling,
    stock,
)

__all__ = [
    "bench",
    "chaos",
    "dead",
    "development",
    "drill",
    "keys",
    "lifecycle",
    "payments",
    "products",
    "scaling",
    "stock",
]
