"""Statements that PostgreSQL plans once per connection."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from chassis.storage import postgres


class Prepared:
    """A statement, planned once per connection. `types` are its parameters', as in `uuid[], json`."""

    def __init__(self, types: str, text: str) -> None:
        self._types, self._text = types, text
        self._call = f"({', '.join(['%s'] * (types.count(',') + 1))})"

    def run(self, *values: Any) -> Any:
        connection = postgres.connection()
        names = connection.info.setdefault("prepared", {})
        if (name := names.get(self._text)) is None:
            name = f"souk_{len(names)}"
            connection.exec_driver_sql(f"PREPARE {name} ({self._types}) AS {self._text}")
            names[self._text] = name
        return connection.exec_driver_sql(f"EXECUTE {name} {self._call}", values)


def array(ids: Iterable[UUID]) -> str:
    """Sorted, so that locks are taken in one order everywhere."""
    return "{" + ",".join(sorted(map(str, ids))) + "}"
