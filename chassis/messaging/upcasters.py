"""Functions from one version of a message's data to the next.

    class OrderPlaced(Message, type="order.placed", upcasters=(renamed(total="amount"), each("lines", added(category=""))))

All leave newer data alone.
"""

from collections.abc import Callable
from typing import Any

Data = dict[str, Any]
Upcaster = Callable[[Data], Data]


def added(**values: Any) -> Upcaster:
    """Fields and their values in older data."""
    return lambda data: {**values, **data}


def removed(*names: str) -> Upcaster:
    return lambda data: {name: value for name, value in data.items() if name not in names}


def renamed(**names: str) -> Upcaster:
    """old="new" for each field."""
    return lambda data: {names.get(name, name): value for name, value in data.items()}


def changed(name: str, change: Callable[[Any], Any]) -> Upcaster:
    """`change` must leave a new value alone."""
    return lambda data: {**data, name: change(data[name])}


def each(name: str, upcaster: Upcaster) -> Upcaster:
    """Apply to each object in the list `name`."""
    return changed(name, lambda items: [upcaster(item) for item in items])
