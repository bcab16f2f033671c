"""Finds products in the index."""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import mongoengine

from contracts import money
from services.products.search import typos
from services.products.search.filters import FIELDS, Filters, Order, Place, SearchOrder
from services.products.search.follower import Follower
from services.products.search.index import FORMAT, Index
from services.products.search.query import Term, TextQuery
from services.products.search.ranking import Texts
from services.products.search.sql import all_of, any_of, best_first, conditions_of, from_column, newest, to_column
from services.products.settings import Settings

MAX_RANKED = 300

MAX_COUNTED = 500

PRICE_STEPS = [Decimal(step) for step in (0, 10, 25, 50, 100, 250)]

ENOUGH = 10
"""Matches of all terms at which partial matches are skipped."""

PLENTY = 100
"""Name or category matches at which other fields are skipped."""

_STEPS = " ".join(
    f"WHEN p.price >= {money.to_minor(price)} THEN {step}" for step, price in reversed([*enumerate(PRICE_STEPS)])
)
_COUNTED = f"p.category, CASE {_STEPS} END AS step, p.in_stock"


@dataclass(frozen=True)
class Match:
    """`place`: in an order other than relevance."""

    place: Place
    texts: Texts


@dataclass(frozen=True)
class Count:
    category: str
    price_step: Decimal
    is_in_stock: bool
    products: int


class Finder:
    def __init__(self, index: Index, follower: Follower) -> None:
        self._index = index
        self._follower = follower

    def refresh(self, is_changed: bool) -> None:
        """`is_changed`: surely written to. Raises Unavailable while building a large index."""
        self._follower.catch_up(is_changed)

    def browse(self, filters: Filters, order: Order, after: Place | None, limit: int) -> list[Place]:
        field, descends = FIELDS[order]
        conditions, values = conditions_of(filters)
        if after is not None:
            conditions.append(f"(p.{field}, p.id) {'<' if descends else '>'} (?, ?)")
            values += [to_column(after.value), after.product_id]
        direction = "DESC" if descends else "ASC"
        rows = self._index.rows(
            f"SELECT p.{field}, p.id FROM products p WHERE {' AND '.join(conditions)}"  # noqa: S608 - names of ours
            f" ORDER BY p.{field} {direction}, p.id {direction} LIMIT ?",
            *values,
            limit,
        )
        return [Place(from_column(field, value), product_id) for value, product_id in rows]

    def categories(self) -> list[tuple[str, int]]:
        """On sale only, by name, with counts."""
        return [
            (str(name), int(count)) for name, count in self._index.rows("SELECT * FROM categories ORDER BY category")
        ]

    def matches(self, query: TextQuery, filters: Filters, order: SearchOrder) -> list[Match]:
        """At most MAX_RANKED, full matches first."""
        field, _ = FIELDS.get(order, ("name", False))
        found: dict[str, Match] = {}
        every = all_of(query)
        for expression in best_first(query):
            self._fill(found, MAX_RANKED, field, "names", expression, filters)
        self._fill(found, PLENTY, field, "texts", f"({every}) NOT ({{name category}} : ({every}))", filters)
        if len(found) < ENOUGH:
            self._fill(found, MAX_RANKED, field, "texts", self._some_of(query), filters)
        return list(found.values())

    def _fill(
        self, found: dict[str, Match], limit: int, field: str, table: str, expression: str, filters: Filters
    ) -> None:
        if len(found) >= limit:
            return
        products, values = newest(f"p.row, p.id, p.{field} AS value", table, expression, filters)
        rows = self._index.rows(
            f"SELECT f.id, f.value, t.name, t.category, t.description FROM ({products}) f CROSS JOIN texts t ON t.rowid = f.row",  # noqa: S608 - names of ours
            *values,
            limit - len(found),
        )
        for product_id, value, *texts in rows:
            found.setdefault(product_id, Match(Place(from_column(field, value), product_id), Texts(*texts)))

    def counts(self, query: TextQuery | None, filters: Filters) -> list[Count]:
        if query is None:
            conditions, values = conditions_of(filters)
            select = f"SELECT {_COUNTED} FROM products p WHERE {' AND '.join(conditions)} LIMIT ?"  # noqa: S608 - names of ours
            return self._counts(select, values)
        counts = self._counts(*newest(_COUNTED, "texts", all_of(query), filters))
        if sum(each.products for each in counts) < ENOUGH:
            counts = self._counts(*newest(_COUNTED, "texts", self._some_of(query), filters))
        return counts

    def _counts(self, select: str, values: Sequence[Any]) -> list[Count]:
        grouped = f"SELECT category, step, in_stock, count(*) FROM ({select}) GROUP BY 1, 2, 3"  # noqa: S608 - names of ours
        return [
            Count(category, PRICE_STEPS[step], bool(in_stock), products)
            for category, step, in_stock, products in self._index.rows(grouped, *values, MAX_COUNTED)
        ]

    def _some_of(self, query: TextQuery) -> str:
        rarest_first = sorted(query.terms, key=lambda term: -term.weight)
        kept, found = rarest_first[:1], self._products_with(rarest_first[0])
        for term in rarest_first[1:]:
            found += self._products_with(term)
            if found <= MAX_RANKED:
                kept.append(term)
        return " OR ".join(any_of(term) for term in kept)

    def _products_with(self, term: Term) -> int:
        words = [word for word, _ in term.words]
        marks = ",".join("?" * len(words))
        found = self._index.rows(f"SELECT total(products) FROM words WHERE word IN ({marks})", *words)  # noqa: S608
        return int(found[0][0])

    def share(self, word: str) -> float:
        found = self._index.rows("SELECT products FROM words WHERE word = ?", word)
        if not found:
            return 0.0
        (products,) = self._index.rows("SELECT max(row) FROM products")[0]
        return min(1.0, float(found[0][0]) / max(1, products or 1))

    def completions(self, prefix: str, limit: int) -> list[str]:
        rows = self._index.rows(
            "SELECT word FROM words WHERE word > ? AND word < ? ORDER BY products DESC, word LIMIT ?",
            prefix,
            prefix + "\U0010ffff",
            limit,
        )
        return [str(word) for (word,) in rows]

    def similar(self, word: str, limit: int) -> list[str]:
        keys = typos.lookup_keys(word)
        marks = ",".join("?" * len(keys))
        query = f"SELECT word, products FROM words WHERE word IN (SELECT word FROM typos WHERE key IN ({marks}))"  # noqa: S608
        return typos.closest(word, self._index.rows(query, *keys), limit)


def finder() -> Finder:
    """One per catalogue in this process."""
    return _finder_of(mongoengine.get_db().name)


@cache
def _finder_of(database_name: str) -> Finder:
    index = Index(_directory() / f"{database_name}-{_address_digest()}-{FORMAT}.sqlite")
    return Finder(index, Follower(index))


def _directory() -> Path:
    return Path(Settings.current().search_directory or Path(tempfile.gettempdir()) / f"souk-search-{os.getuid()}")


def _address_digest() -> str:
    """Distinguishes databases of one name on several servers."""
    database = mongoengine.get_db()
    address = f"{sorted(database.client.topology_description.server_descriptions())}/{database.name}"
    return hashlib.sha256(address.encode()).hexdigest()[:12]
