"""The index in a file: it walks no table, and finds what should come first however much else there is."""

from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from services.products.finding.finder import FIELDS, MAX_COUNTED, MAX_RANKED, Filters, Place
from services.products.finding.index import Entry, Index, keep
from services.products.finding.local import LocalFinder
from services.products.finding.question import understand
from services.products.models import Product
from services.products.search import facets


class Watched(Index):
    """Notes how SQLite means to find what it is asked."""

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
    return LocalFinder(index, follower=None)


def bring(index, *names, **fields):
    """Products of these names, the oldest first; gives their ids."""
    said = {"category": "kitchen", "price": Decimal(12), "currency": "EUR", "stock_quantity": 1, **fields}
    made = [Product.new(uuid4(), sku=f"S-{number}", name=name, **said) for number, name in enumerate(names)]
    with index.writing() as writer:
        keep(writer, [Entry.of(product.to_mongo().to_dict()) for product in made])
    return [UUID(product.id) for product in made]


def test_no_table_is_walked(index, finder):
    bring(index, "Copper kettle", "Silk scarf")
    place = Place(1, str(UUID(int=0)))
    narrow = Filters(category="kitchen", least=Decimal(1), most=Decimal(99), in_stock=True)
    for filters in (Filters(), Filters(category="kitchen"), narrow):
        for order in FIELDS:
            for after in (None, place):
                finder.browse(filters, order, after, 10)
        for text in ("kettle", "ketlte", "copper ket", "silk kettle"):
            question = understand(text, finder)
            finder.matches(question, filters, "price")
            facets(finder, question, filters)
    finder.categories()
    walks = [
        (query, step)
        for query, steps in index.plans
        for step in steps
        # In an index's order, as far as the limit goes; a virtual table's own index is the words'; counts and subqueries have few rows.
        if step.startswith("SCAN")
        and not any(found in step for found in ("USING", "VIRTUAL", "categories", "SCAN f", "subquery"))
    ]
    assert len(index.plans) > 50
    assert walks == []


def test_a_name_of_nothing_else_comes_before_any_number_of_newer_ones(index, finder):
    oldest, *_ = bring(index, "Kettle", *(f"Red kettle of {number}" for number in range(2 * MAX_RANKED)))
    matches = finder.matches(understand("kettle", finder), Filters(), "relevance")
    assert len(matches) == MAX_RANKED
    assert UUID(matches[0].place.product_id) == oldest


def test_facets_count_up_to_a_bound_and_say_so(index, finder):
    bring(index, *(["Kettle"] * (MAX_COUNTED + 10)))
    counted = facets(finder, understand("kettle", finder), Filters())
    assert (counted.categories, counted.is_complete) == ([("kitchen", MAX_COUNTED)], False)
    few = facets(finder, understand("kettle", finder), Filters(least=Decimal(13)))
    assert (few.categories, few.prices) == ([], [(Decimal(10), Decimal(25), MAX_COUNTED)])
