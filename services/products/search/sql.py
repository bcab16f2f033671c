"""SQL conditions and FTS5 expressions."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from contracts import money
from services.products.search.filters import Filters, Value
from services.products.search.index import length_word
from services.products.search.query import Term, TextQuery
from services.products.search.words import words

SHORT = 3


def best_first(query: TextQuery) -> Iterator[str]:
    """Expressions for full matches: exact names, short ones, the rest."""
    every = all_of(query)
    titled = f"{{name category}} : ({every})"
    exact, *longer = (length_word(len(query.terms) + more) for more in range(SHORT))
    named = f"{{name}} : ({every}) AND {{length}}"
    yield f"{named} : {exact}"
    yield f"{named} : ({' OR '.join(longer)})"
    yield f"({titled}) NOT ({named} : ({' OR '.join([exact, *longer])}))"


def newest(columns: str, table: str, expression: str, filters: Filters) -> tuple[str, list[Any]]:
    """Values exclude the limit. CROSS JOIN makes SQLite start from the text."""
    conditions, values = conditions_of(filters)
    query = (
        f"SELECT {columns} FROM {table} m CROSS JOIN products p ON p.row = m.rowid"  # noqa: S608 - names of ours
        f" WHERE {table} MATCH ? AND {' AND '.join(conditions)} ORDER BY m.rowid DESC LIMIT ?"
    )
    return query, [_in_category(expression, filters), *values]


def conditions_of(filters: Filters) -> tuple[list[str], list[Any]]:
    every: list[tuple[str, Any]] = [
        ("p.category = ?", filters.category),
        ("p.price >= ?", None if filters.min_price is None else money.to_minor(filters.min_price)),
        ("p.price <= ?", None if filters.max_price is None else money.to_minor(filters.max_price)),
        ("p.in_stock = ?", filters.in_stock),
        # The plus keeps SQLite from using an index.
        ("+p.is_active = ?", filters.is_active),
    ]
    given = [(condition, value) for condition, value in every if value is not None]
    return [condition for condition, _ in given] or ["1"], [value for _, value in given]


def _in_category(expression: str, filters: Filters) -> str:
    """FTS5 then skips other categories before reading rows."""
    if filters.category is None or not (category := words(filters.category)):
        return expression
    return f"({expression}) AND ({{category}} : ({' AND '.join(_quoted(category))}))"


def all_of(query: TextQuery) -> str:
    return " AND ".join(any_of(term) for term in query.terms)


def any_of(term: Term) -> str:
    return f"({' OR '.join(_quoted([word for word, _ in term.words]))})"


def _quoted(words: Sequence[str]) -> list[str]:
    """AND, OR and NOT would be operators."""
    return [f'"{word}"' for word in words]


def to_column(value: Value) -> Any:
    if isinstance(value, datetime):
        return round(value.timestamp() * 1000)
    return money.to_minor(value) if isinstance(value, Decimal) else value


def from_column(field: str, value: Any) -> Value:
    if field == "created_at":
        return datetime.fromtimestamp(value / 1000, UTC)
    return money.from_minor(value) if field == "price" else value
