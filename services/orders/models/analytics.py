"""Sales by UTC day, currency, category and product, in minor units."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import BigInteger, Column, Date, String, Table, Uuid
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql.dml import Insert

from chassis.messaging.message import Message
from contracts.orders import OrderConfirmed, OrderPlaced, OrderRefunded, OrderRefundReturned
from services.orders.models.events import Base

COUNTED: tuple[type[Message], ...] = (OrderPlaced, OrderConfirmed, OrderRefunded, OrderRefundReturned)


def _table(name: str, keys: Iterable[Column[Any]], sums: Iterable[str]) -> Table:
    return Table(
        f"analytics_{name}",
        Base.metadata,
        Column("day", Date, primary_key=True),
        Column("currency", String(3), primary_key=True),
        *keys,
        *(Column(each, BigInteger, nullable=False) for each in sums),
    )


def _category() -> Column[Any]:
    return Column("category", String(100), primary_key=True)


days = _table("days", (), ("placed", "confirmed", "revenue", "refunded"))
categories = _table("categories", [_category()], ("quantity", "revenue"))
products = _table(
    "products",
    [_category(), Column("product_id", Uuid, primary_key=True), Column("name", String(200), primary_key=True)],
    ("quantity", "revenue"),
)
"""One row for each name and category a product has had."""

TABLES = (days, categories, products)

BATCH = 1_000


class Sums:
    def __init__(self) -> None:
        self._sums: dict[Table, dict[tuple[Any, ...], Counter[str]]] = {table: {} for table in TABLES}

    def count(self, message: Message, occurred_at: datetime) -> None:
        day = occurred_at.astimezone(UTC).date()
        match message:
            case OrderPlaced():
                self._add(days, (day, message.currency), placed=1)
            case OrderConfirmed():
                self._add(days, (day, message.currency), confirmed=1, revenue=message.amount)
                self._count_lines(day, message)
            case OrderRefunded():
                self._add(days, (day, message.currency), refunded=message.amount)
            case OrderRefundReturned():
                self._add(days, (day, message.currency), refunded=-message.amount)

    def _count_lines(self, day: date, confirmed: OrderConfirmed) -> None:
        for line in confirmed.lines:
            sold = {"quantity": line.quantity, "revenue": line.quantity * line.unit_amount}
            key = (day, confirmed.currency, line.category)
            self._add(categories, key, **sold)
            self._add(products, (*key, line.product_id, line.name), **sold)

    def _add(self, table: Table, key: tuple[Any, ...], **amounts: int) -> None:
        self._sums[table].setdefault(key, Counter()).update(amounts)

    def statements(self, schema: str | None = None, sign: int = 1) -> Iterator[tuple[Insert, list[dict[str, Any]]]]:
        """In key order, to avoid deadlocks. sign: -1 takes away."""
        for table, sums in self._sums.items():
            target = table if schema is None else table.to_metadata(type(Base.metadata)(), schema=schema)
            row = insert(target)
            summed = [column.name for column in table.columns if not column.primary_key]
            add = row.on_conflict_do_update(
                index_elements=list(table.primary_key.columns.keys()),
                set_={name: target.c[name] + row.excluded[name] for name in summed},
            )
            rows = [self._row(table, key, counted, sign) for key, counted in sorted(sums.items())]
            for start in range(0, len(rows), BATCH):
                yield add, rows[start : start + BATCH]

    @staticmethod
    def _row(table: Table, key: tuple[Any, ...], counted: Counter[str], sign: int) -> dict[str, Any]:
        names = table.primary_key.columns.keys()
        signed = {name: sign * amount for name, amount in counted.items()}
        return {**dict.fromkeys(table.columns.keys(), 0), **dict(zip(names, key, strict=True)), **signed}
