"""Search in a file of this machine, for a database without text search. It follows the database at a second's distance."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from contracts import money
from services.products.finding import slips
from services.products.finding.finder import (
    FIELDS,
    MAX_COUNTED,
    MAX_RANKED,
    PRICE_STEPS,
    Counted,
    Filters,
    Match,
    Order,
    Place,
    SearchOrder,
    Value,
)
from services.products.finding.follow import Follower
from services.products.finding.index import Index, length_word
from services.products.finding.question import Question, Wanted
from services.products.finding.ranking import Texts
from services.products.finding.words import words

ENOUGH = 10
"""Products with all the words beyond which none is looked for that lacks one."""

PLENTY = 100
"""Products with the words in their name or category beyond which none is looked for that has them elsewhere."""

SHORT = 3
"""A name is short that has fewer words than so many beside those that were typed."""

_STEPS = " ".join(
    f"WHEN p.price >= {money.to_minor(least)} THEN {step}" for step, least in reversed([*enumerate(PRICE_STEPS)])
)
_COUNTED = f"p.category, CASE {_STEPS} END AS step, p.in_stock"
"""What facets count by."""


class LocalFinder:
    name = "file"

    def __init__(self, index: Index, follower: Follower) -> None:
        self._index = index
        self._follower = follower

    def refresh(self, is_changed: bool) -> None:
        self._follower.catch_up(is_changed)

    def learn(self, documents: Sequence[dict[str, Any]]) -> None:
        """It reads what was written by itself."""
        self._follower.catch_up(is_changed=True)

    # --- lists

    def browse(self, filters: Filters, order: Order, after: Place | None, most: int) -> list[Place]:
        field, descends = FIELDS[order]
        conditions, values = _conditions(filters)
        if after is not None:
            conditions.append(f"(p.{field}, p.id) {'<' if descends else '>'} (?, ?)")
            values += [_to_column(after.value), after.product_id]
        direction = "DESC" if descends else "ASC"
        rows = self._index.rows(
            f"SELECT p.{field}, p.id FROM products p WHERE {' AND '.join(conditions)}"  # noqa: S608 - names of ours
            f" ORDER BY p.{field} {direction}, p.id {direction} LIMIT ?",
            *values,
            most,
        )
        return [Place(_from_column(field, value), product_id) for value, product_id in rows]

    def categories(self) -> list[tuple[str, int]]:
        return [
            (str(name), int(count)) for name, count in self._index.rows("SELECT * FROM categories ORDER BY category")
        ]

    # --- search

    def matches(self, question: Question, filters: Filters, order: SearchOrder) -> list[Match]:
        field, _ = FIELDS.get(order, ("name", False))
        found: dict[str, Match] = {}
        every = _all_of(question)
        for expression in _best_first(question):
            self._fill(found, MAX_RANKED, field, "names", expression, filters)
        self._fill(found, PLENTY, field, "texts", f"({every}) NOT ({{name category}} : ({every}))", filters)
        if len(found) < ENOUGH:
            self._fill(found, MAX_RANKED, field, "texts", self._some_of(question), filters)
        return list(found.values())

    def _fill(
        self, found: dict[str, Match], most: int, field: str, table: str, expression: str, filters: Filters
    ) -> None:
        """Add what the expression finds, until there are so many."""
        if len(found) >= most:
            return
        newest, values = _newest(f"p.row, p.id, p.{field} AS value", table, expression, filters)
        rows = self._index.rows(
            f"SELECT f.id, f.value, t.name, t.category, t.description FROM ({newest}) f CROSS JOIN texts t ON t.rowid = f.row",  # noqa: S608 - names of ours
            *values,
            most - len(found),
        )
        for product_id, value, *texts in rows:
            found.setdefault(product_id, Match(Place(_from_column(field, value), product_id), Texts(*texts)))

    def counted(self, question: Question | None, filters: Filters) -> list[Counted]:
        if question is None:
            conditions, values = _conditions(filters)
            query = f"SELECT {_COUNTED} FROM products p WHERE {' AND '.join(conditions)} LIMIT ?"  # noqa: S608 - names of ours
            return self._counts(query, values)
        counts = self._counts(*_newest(_COUNTED, "texts", _all_of(question), filters))
        if sum(each.products for each in counts) < ENOUGH:
            counts = self._counts(*_newest(_COUNTED, "texts", self._some_of(question), filters))
        return counts

    def _counts(self, query: str, values: Sequence[Any]) -> list[Counted]:
        kinds = f"SELECT category, step, in_stock, count(*) FROM ({query}) GROUP BY 1, 2, 3"  # noqa: S608 - names of ours
        return [
            Counted(category, PRICE_STEPS[step], bool(in_stock), products)
            for category, step, in_stock, products in self._index.rows(kinds, *values, MAX_COUNTED)
        ]

    def _some_of(self, question: Question) -> str:
        """Any of the words, but of common ones only the rarest: what most products have tells nothing by itself."""
        rarest_first = sorted(question.wanted, key=lambda wanted: -wanted.weight)
        kept, found = rarest_first[:1], self._spread(rarest_first[0])
        for wanted in rarest_first[1:]:
            found += self._spread(wanted)
            if found <= MAX_RANKED:
                kept.append(wanted)
        return " OR ".join(_any_of(wanted) for wanted in kept)

    def _spread(self, wanted: Wanted) -> int:
        words = [word for word, _ in wanted.alternatives]
        marks = ",".join("?" * len(words))
        found = self._index.rows(f"SELECT total(products) FROM words WHERE word IN ({marks})", *words)  # noqa: S608
        return int(found[0][0])

    # --- vocabulary

    def commonness(self, word: str) -> float:
        found = self._index.rows("SELECT products FROM words WHERE word = ?", word)
        if not found:
            return 0.0
        (products,) = self._index.rows("SELECT max(row) FROM products")[0]
        return min(1.0, float(found[0][0]) / max(1, products or 1))

    def completions(self, beginning: str, most: int) -> list[str]:
        rows = self._index.rows(
            "SELECT word FROM words WHERE word > ? AND word < ? ORDER BY products DESC, word LIMIT ?",
            beginning,
            beginning + "\U0010ffff",
            most,
        )
        return [str(word) for (word,) in rows]

    def similar(self, word: str, most: int) -> list[str]:
        keys = slips.typed_keys(word)
        marks = ",".join("?" * len(keys))
        query = f"SELECT word, products FROM words WHERE word IN (SELECT word FROM slips WHERE key IN ({marks}))"  # noqa: S608
        return slips.likeliest(word, self._index.rows(query, *keys), most)


def _best_first(question: Question) -> Iterator[str]:
    """Expressions that find the names with all the words: of nothing else, short ones, any, those with their category.

    By the same rules as `ranking`, so that what is passed by, as there is enough, would hardly have come first.
    """
    every = _all_of(question)
    titled = f"{{name category}} : ({every})"
    exact, *longer = (length_word(len(question.wanted) + more) for more in range(SHORT))
    named = f"{{name}} : ({every}) AND {{length}}"
    yield f"{named} : {exact}"
    yield f"{named} : ({' OR '.join(longer)})"
    yield f"({titled}) NOT ({named} : ({' OR '.join([exact, *longer])}))"


def _newest(columns: str, table: str, expression: str, filters: Filters) -> tuple[str, list[Any]]:
    """The query for the newest products that the expression finds, and its values but for how many.

    The text decides which are looked at (CROSS JOIN keeps SQLite to that), the filters which stay.
    """
    conditions, values = _conditions(filters)
    query = (
        f"SELECT {columns} FROM {table} m CROSS JOIN products p ON p.row = m.rowid"  # noqa: S608 - names of ours
        f" WHERE {table} MATCH ? AND {' AND '.join(conditions)} ORDER BY m.rowid DESC LIMIT ?"
    )
    return query, [_narrowed(expression, filters), *values]


def _conditions(filters: Filters) -> tuple[list[str], list[Any]]:
    asked: list[tuple[str, Any]] = [
        ("p.category = ?", filters.category),
        ("p.price >= ?", None if filters.least is None else money.to_minor(filters.least)),
        ("p.price <= ?", None if filters.most is None else money.to_minor(filters.most)),
        ("p.in_stock = ?", filters.in_stock),
        # The plus keeps it from being taken for a reason to choose an index.
        ("+p.is_active = ?", filters.is_active),
    ]
    given = [(condition, value) for condition, value in asked if value is not None]
    return [condition for condition, _ in given] or ["1"], [value for _, value in given]


def _narrowed(expression: str, filters: Filters) -> str:
    """`expression`, and the words of the category: so the text index passes by what is of others, before any row is read."""
    if filters.category is None or not (asked := words(filters.category)):
        return expression
    return f"({expression}) AND ({{category}} : ({' AND '.join(_quoted(asked))}))"


def _all_of(question: Question) -> str:
    return " AND ".join(_any_of(wanted) for wanted in question.wanted)


def _any_of(wanted: Wanted) -> str:
    return f"({' OR '.join(_quoted([word for word, _ in wanted.alternatives]))})"


def _quoted(words: Sequence[str]) -> list[str]:
    """Words hold letters and digits only, but AND, OR and NOT would be heard as operators."""
    return [f'"{word}"' for word in words]


def _to_column(value: Value) -> Any:
    if isinstance(value, datetime):
        return round(value.timestamp() * 1000)
    return money.to_minor(value) if isinstance(value, Decimal) else value


def _from_column(field: str, value: Any) -> Value:
    if field == "created_at":
        return _moment(value)
    return money.from_minor(value) if field == "price" else value


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
