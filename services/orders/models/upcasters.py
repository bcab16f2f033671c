"""Events are for ever, their shapes are not: what was written in an older shape is read as today's.

A type's upcasters stand oldest first. An event remembers the shape it was written in as `schema` of its `meta`, counted
from 1, and takes those that came since.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Data = dict[str, Any]

UNKNOWN_CATEGORY = "unknown"


def _with_categories(data: Data) -> Data:
    """Lines did not keep the product's category."""
    return {**data, "lines": [{"category": UNKNOWN_CATEGORY, **line} for line in data["lines"]]}


UPCASTERS: Mapping[str, Sequence[Callable[[Data], Data]]] = {
    "order.placed": [_with_categories],
    "order.confirmed": [_with_categories],
}


def schema_of(type_: str) -> int:
    """The shape in which events of this type are written today."""
    return 1 + len(UPCASTERS.get(type_, ()))


def upcast(type_: str, data: Data, schema: int) -> Data:
    """`data` as an event of this type is written today."""
    for upcaster in UPCASTERS.get(type_, ())[schema - 1 :]:
        data = upcaster(data)
    return data
