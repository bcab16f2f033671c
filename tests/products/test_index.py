"""The index: no query scans a table, and the best matches are found however much else there is."""

from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from services.products.models import Product
from services.products.search.facets import CategoryCount, PriceRange, facets_of
from services.products.search.filters import FIELDS, Filters, Place
from services.products.search.finder import MAX_COUNTED, MAX_RANKED, Finder
from services.products.search.index import Entry, Index, upsert
from services.products.search.query import parse


class Watched(Index):
    """Records SQLite's plan for each query."""

    def __init__(self, path):
        super().__init__(path)
        self.plans = []

    def rows(self, query, *values):
        steps = self.connection.execute(f"EXPLAIN QUERY PLAN {query}", values).fetchall()
        self.plans.append((query, [step for *_, step in steps]))
        return super().rows(query, *values)


@pytest.fixture
def index(tmp_path):
    return Watched(tmp_path / "index.sqlite")


@pytest.fixture
def finder(index):
    return Finder(index, follower=None)


def add(index, *names, **fields):
    """Products of these names, the oldest first; gives their ids."""
    common = {"category": "kitchen", "price": Decimal(12), "currency": "EUR", "stock_quantity": 1, **fields}
    made = [Product.new(uuid4(), sku=f"S-{number}", name=name, **common) for number, name in enumerate(names)]
    with index.writing() as writer:
        upsert(writer, [Entry.of(product.to_mongo().to_dict()) for product in made])
    return [UUID(product.id) for product in made]


def test_no_table_is_scanned(index, finder):
    add(index, "Copper kettle", "Silk scarf")
    place = Place(1, str(UUID(int=0)))
    narrow = Filters(category="kitchen", min_price=Decimal(1), max_price=Decimal(99), in_stock=True)
    for filters in (Filters(), Filters(category="kitchen"), narrow):
        for order in FIELDS:
            for after in (None, place):
                finder.browse(filters, order, after, 10)
        for text in ("kettle", "ketlte", "copper ket", "silk kettle"):
            query = parse(text, finder)
            finder.matches(query, filters, "price")
            facets_of(finder, query, filters)
    finder.categories()
    scans = [
        (query, step)
        for query, steps in index.plans
        for step in steps
        # In an index's order, as far as the limit goes; a virtual table's own index is the words'; counts and subqueries have few rows.
        if step.startswith("SCAN")
        and not any(found in step for found in ("USING", "VIRTUAL", "categories", "SCAN f", "subquery"))
    ]
    assert len(index.plans) > 50
    assert scans == []


def test_an_exact_name_comes_before_any_number_of_newer_ones(index, finder):
    oldest, *_ = add(index, "Kettle", *(f"Red kettle of {number}" for number in range(2 * MAX_RANKED)))
    matches = finder.matches(parse("kettle", finder), Filters(), "relevance")
    assert len(matches) == MAX_RANKED
    assert UUID(matches[0].place.product_id) == oldest


def test_facets_count_up_to_a_bound_and_show_it(index, finder):
    add(index, *(["Kettle"] * (MAX_COUNTED + 10)))
    counted = facets_of(finder, parse("kettle", finder), Filters())
    assert (counted.categories, counted.is_complete) == (
        [CategoryCount(category="kitchen", products=MAX_COUNTED)],
        False,
    )
    few = facets_of(finder, parse("kettle", finder), Filters(min_price=Decimal(13)))
    assert (few.categories, few.prices) == (
        [],
        [PriceRange(min_price=Decimal(10), max_price=Decimal(25), products=MAX_COUNTED)],
    )
