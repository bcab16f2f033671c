"""Rebuild every projection from the events; only the final swap of tables blocks orders."""

from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from typing import Any

from sqlalchemy import Connection, Executable, MetaData, Table, create_engine, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.pool import NullPool

from services.orders.models import Order
from services.orders.models.analytics import COUNTED, TABLES, Sums
from services.orders.models.events import read

SCHEMA = "rebuilt"
PROJECTIONS = ("orders", *(table.name for table in TABLES))
BATCH = 1_000

LOCK = 5_202_011
"""Advisory lock (arbitrary number): one rebuild at a time."""

_EVENTS = "SELECT stream, version, type, data, meta, occurred_at FROM events "
_GROWN = (
    "WHERE stream IN (SELECT stream FROM events WHERE transaction_id >= pg_snapshot_xmin(CAST(:seen AS pg_snapshot))"
    " AND NOT pg_visible_in_snapshot(transaction_id, CAST(:seen AS pg_snapshot))) ORDER BY stream, version"
)


def rebuild(url: str) -> int:
    """Returns the number of orders."""
    engine = create_engine(
        url.replace("postgresql://", "postgresql+psycopg2://", 1), poolclass=NullPool, hide_parameters=True
    )
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        seen = connection.scalar(text("SELECT pg_current_snapshot()::text"))
        indexes = _create(connection)
        _replay_orders(connection, "ORDER BY stream, version")
        for index in indexes:
            connection.execute(text(index))
        _count(connection, seen)
        _replace(connection, seen)
        return connection.scalar(text("SELECT count(*) FROM orders")) or 0


def _create(connection: Connection) -> list[str]:
    """Returns the index statements, to run once the tables are full."""
    connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
    indexes = []
    for name in PROJECTIONS:
        options = "INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE"
        connection.execute(text(f"CREATE TABLE {SCHEMA}.{name} (LIKE public.{name} {options})"))
        found = connection.execute(
            text(
                "SELECT indexdef, conname FROM pg_indexes LEFT JOIN pg_constraint"
                " ON conname = indexname AND conrelid = CAST(:table AS regclass) AND contype = 'p'"
                " WHERE schemaname = 'public' AND tablename = :name ORDER BY indexname"
            ),
            {"name": name, "table": f"public.{name}"},
        )
        for definition, key in found:
            indexes.append(definition.replace(f" ON public.{name} ", f" ON {SCHEMA}.{name} "))
            if key is not None:
                indexes.append(f"ALTER TABLE {SCHEMA}.{name} ADD CONSTRAINT {key} PRIMARY KEY USING INDEX {key}")
    return indexes


def _replay_orders(connection: Connection, which: str, **values: Any) -> None:
    """Events are sorted by stream."""
    table = _in_schema(Order.__table__)  # type: ignore[arg-type]
    row = insert(table)
    upsert = row.on_conflict_do_update(
        index_elements=["id"], set_={column.name: row.excluded[column.name] for column in table.columns}
    )
    events = connection.execute(_streamed(_EVENTS + which), values)
    all_rows = _rows(events)
    while rows := list(islice(all_rows, BATCH)):
        connection.execute(upsert if values else row, rows)


def _rows(events: Iterable[Any]) -> Iterator[dict[str, Any]]:
    columns = {attribute.key: attribute.columns[0].name for attribute in Order.__mapper__.column_attrs}
    for stream, its_events in groupby(events, key=lambda event: event.stream):
        order = Order.blank(stream)
        for event in its_events:
            order.apply(read(event.type, event.data, event.meta), event.version, event.occurred_at)
        yield {name: getattr(order, key) for key, name in columns.items()}


def _count(connection: Connection, seen: str) -> None:
    sums = Sums()
    events = connection.execute(
        _streamed(
            _EVENTS + "WHERE type = ANY(:types) AND transaction_id < pg_snapshot_xmin(CAST(:seen AS pg_snapshot))"
        ),
        {"types": [message.type for message in COUNTED], "seen": seen},
    )
    for event in events:
        sums.count(read(event.type, event.data, event.meta), event.occurred_at)
    for statement, rows in sums.statements(SCHEMA):
        connection.execute(statement, rows)


def _replace(connection: Connection, seen: str) -> None:
    # In the projector's order. The lock on `orders` waits for changes in progress, so all events are visible here.
    connection.execute(
        text(
            "INSERT INTO projections VALUES ('analytics', pg_snapshot_xmin(CAST(:seen AS pg_snapshot)), 0) ON CONFLICT (name)"
            " DO UPDATE SET transaction_id = excluded.transaction_id, position = excluded.position"
        ),
        {"seen": seen},
    )
    connection.execute(text(f"LOCK TABLE {', '.join(PROJECTIONS)} IN ACCESS EXCLUSIVE MODE"))
    _replay_orders(connection, _GROWN, seen=seen)
    for name in PROJECTIONS:
        connection.execute(text(f"DROP TABLE public.{name}"))
        connection.execute(text(f"ALTER TABLE {SCHEMA}.{name} SET SCHEMA public"))
    connection.execute(text(f"DROP SCHEMA {SCHEMA}"))


def _streamed(query: str) -> Executable:
    """Fetch in batches, to bound memory."""
    return text(query).execution_options(yield_per=BATCH)


def _in_schema(table: Table) -> Table:
    return table.to_metadata(MetaData(), schema=SCHEMA)
