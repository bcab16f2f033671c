"""Rows of a unit of work, as plain objects, read and written in sets.

Message handlers run in a unit of work: many messages share a transaction, one SELECT that locks what they are about, one INSERT
per table, and one UPDATE. Elsewhere the same functions use the session.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import FunctionType
from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy import Table, insert, inspect, select
from sqlalchemy import update as sql_update

from chassis.storage import postgres
from chassis.storage.prepared import Prepared, array

M = TypeVar("M")


class Mapping(Generic[M]):
    """How rows become plain objects with the methods and attributes of a mapped class."""

    def __init__(self, model: type[M] | Table) -> None:
        if isinstance(model, Table):
            self.table, self.columns = model, {column.name: column for column in model.columns}
        else:
            mapper: Any = inspect(model)
            self.table = mapper.local_table
            self.columns = {mapper.get_property_by_column(column).key: column for column in self.table.columns}
            self.plain = _plain(model)
        self._reads = [getattr(column.type, "process_result_value", None) for column in self.columns.values()]
        self.key = next(iter(self.table.primary_key)).name
        self._given = f"json_populate_recordset(NULL::{self.table.name}, $1)"
        self._selected = ", ".join(column.name for column in self.columns.values())

    def select(self, by: str, ids: Iterable[UUID]) -> Any:
        key = self.columns[by].name
        text = f"SELECT {self._selected} FROM {self.table.name} WHERE {key} = ANY($1) ORDER BY {self.key} FOR UPDATE"  # noqa: S608 - names of ours
        return Prepared("uuid[]", text).run(array(ids))

    def insert(self, rows: Sequence[dict[str, Any]], unless: str = "") -> None:
        """unless: an ON CONFLICT clause."""
        names = ", ".join(self.columns[key].name for key in rows[0])
        text = f"INSERT INTO {self.table.name} ({names}) SELECT {names} FROM {self._given} {unless}"  # noqa: S608 - names of ours
        Prepared("json", text).run(self.dump(rows))

    def update(self, rows: Sequence[dict[str, Any]], changed: Iterable[str]) -> None:
        """`rows` have their primary key and what changed."""
        values = ", ".join(f"{self.columns[key].name} = v.{self.columns[key].name}" for key in changed)
        text = f"UPDATE {self.table.name} AS t SET {values} FROM {self._given} AS v WHERE t.{self.key} = v.{self.key}"  # noqa: S608 - names of ours
        Prepared("json", text).run(self.dump(rows))

    def load(self, row: Sequence[Any]) -> tuple[M, list[Any]]:
        """The object, and its values as they were."""
        loaded = object.__new__(self.plain)
        values = [value if read is None else read(value, None) for value, read in zip(row, self._reads, strict=True)]
        loaded.__dict__.update(zip(self.columns, values, strict=True))
        return loaded, values

    def dump(self, rows: Sequence[dict[str, Any]]) -> str:
        return json.dumps([self._dumped(row) for row in rows], default=str)

    def _dumped(self, row: dict[str, Any]) -> dict[str, Any]:
        dumped = {}
        for key, value in row.items():
            column = self.columns[key]
            write = getattr(column.type, "process_bind_param", None)
            dumped[column.name] = value if write is None else write(value, None)
        return dumped


_mappings: dict[Any, Mapping[Any]] = {}


def mapping(model: Any) -> Mapping[Any]:
    if model not in _mappings:
        _mappings[model] = Mapping(model)
    return _mappings[model]


def _plain(model: type[M]) -> type[M]:
    """A class with the methods of `model`, and without SQLAlchemy's tracking of attributes."""
    methods = {
        name: value
        for name, value in vars(model).items()
        if isinstance(value, FunctionType | property | classmethod | staticmethod)
        and not name.startswith(("_sa_", "__"))
    }
    return type(model.__name__, (), methods)


class Unit:
    def __init__(self) -> None:
        self._held: dict[tuple[type[Any], str], dict[UUID, Any]] = {}
        self._loaded: list[tuple[Mapping[Any], Any, list[Any]]] = []
        self._added: dict[Mapping[Any], list[dict[str, Any]]] = {}
        self._updated: dict[Mapping[Any], list[dict[str, Any]]] = {}

    def lock(self, model: type[Any], ids: Iterable[UUID], by: str) -> None:
        held = self._held.setdefault((model, by), {})
        missing = set(ids) - held.keys()
        if not missing:
            return
        held.update(dict.fromkeys(missing))
        for row in mapping(model).select(by, missing):
            found, values = mapping(model).load(row)
            held[getattr(found, by)] = found
            self._loaded.append((mapping(model), found, values))

    def get(self, model: type[M], id_: UUID, by: str) -> M | None:
        self.lock(model, [id_], by)
        found: M | None = self._held[model, by][id_]
        return found

    def add(self, model: Any, values: dict[str, Any]) -> None:
        self._added.setdefault(mapping(model), []).append(values)

    def update(self, model: Any, values: dict[str, Any]) -> None:
        self._updated.setdefault(mapping(model), []).append(values)

    def flush(self) -> None:
        """Added rows first."""
        added, self._added = self._added, {}
        for of_model, rows in added.items():
            of_model.insert(rows)
        updated, self._updated = self._updated, {}
        for of_model, rows in updated.items():
            of_model.update(rows, [key for key in rows[0] if key != of_model.key])
        changed: dict[Mapping[Any], tuple[list[dict[str, Any]], set[str]]] = {}
        for index, (of_model, found, values) in enumerate(self._loaded):
            now = [getattr(found, key) for key in of_model.columns]
            different = [key for key, old, new in zip(of_model.columns, values, now, strict=True) if old != new]
            if different:
                rows, keys = changed.setdefault(of_model, ([], set()))
                rows.append(found.__dict__)
                keys.update(different)
                self._loaded[index] = (of_model, found, now)
        for of_model, (rows, keys) in changed.items():
            columns = tuple(key for key in of_model.columns if key in keys)
            of_model.update([{key: row[key] for key in (of_model.key, *columns)} for row in rows], columns)


_unit: ContextVar[Unit | None] = ContextVar("unit", default=None)


@contextmanager
def unit() -> Iterator[None]:
    """Within a transaction. Writes in the end, and before the session is used."""
    opened = Unit()
    token = _unit.set(opened)
    try:
        with postgres.before_session(opened.flush):
            yield
        opened.flush()
    finally:
        _unit.reset(token)


def lock(model: type[Any], ids: Iterable[UUID], by: str = "id") -> None:
    """In one statement and one order. Only in a unit of work."""
    current = _unit.get()
    if current is not None:
        current.lock(model, ids, by)


def create_missing(model: type[Any], new: Iterable[dict[str, Any]], by: str) -> None:
    """Rows whose unique `by` is not there yet. Concurrent ones wait for the first one's commit."""
    if ordered := sorted(new, key=lambda row: str(row[by])):
        mapping(model).insert(ordered, f"ON CONFLICT ({mapping(model).columns[by].name}) DO NOTHING")


def get_for_update(model: type[M], id_: UUID, by: str = "id") -> M | None:
    current = _unit.get()
    if current is not None:
        return current.get(model, id_, by)
    found = select(model).where(getattr(model, by) == id_).with_for_update()
    return postgres.session().scalars(found, execution_options={"populate_existing": True}).one_or_none()


def add(model: type[Any] | Table, values: dict[str, Any]) -> None:
    """`values` of every row of a model have the same names."""
    current = _unit.get()
    if current is not None:
        current.add(model, values)
    elif isinstance(model, Table):
        postgres.session().connection().execute(insert(model), values)
    else:
        postgres.session().add(model(**values))


def update(model: type[Any], id_: UUID, values: dict[str, Any]) -> None:
    """Without reading it. `values` of every row of a model have the same names."""
    current = _unit.get()
    if current is not None:
        current.update(model, {mapping(model).key: id_, **values})
    else:
        key = mapping(model).table.primary_key.columns[0]
        postgres.session().execute(sql_update(model).where(key == id_).values(values))
