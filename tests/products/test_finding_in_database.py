"""What MongoDB is asked where it does the finding: the queries, and the indexes that answer them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from bson import Decimal128

from chassis.storage import mongo
from services.products.finding.database import TALLIED_FOR, DatabaseFinder, behind, condition
from services.products.finding.declare import list_keys
from services.products.finding.finder import FIELDS, Filters, Place
from services.products.finding.question import Question, Wanted

KETTLE = Question((Wanted((("copper", 1.0),), 1.0), Wanted((("kettle", 1.0), ("kettledrum", 0.6)), 1.0)))


def named(name):
    return {"name": name, "category": "kitchen", "sku": "S-1", "description": ""}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(), {"is_active": True}),
        (Filters(is_active=None), {"is_active": {"$in": [True, False]}}),
        (Filters(category="tea", in_stock=True), {"is_active": True, "category": "tea", "stock_quantity": {"$gt": 0}}),
        (Filters(in_stock=False), {"is_active": True, "stock_quantity": 0}),
        (
            Filters(least=Decimal("1.50"), most=Decimal(2)),
            {"is_active": True, "price": {"$gte": Decimal128("1.50"), "$lte": Decimal128("2")}},
        ),
    ],
)
def test_filters_become_a_query(filters, expected):
    assert condition(filters) == expected
    searched = condition(filters, KETTLE)
    assert searched.pop("$text") == {"$search": "copper kettle kettledrum"}
    assert searched == expected


def test_a_page_starts_behind_its_place():
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    asked = behind({"is_active": True}, "created_at", True, Place(moment, "id"))
    assert asked["$and"] == [
        {"is_active": True},
        {"created_at": {"$lte": moment}},
        {"$or": [{"created_at": {"$lt": moment}}, {"_id": {"$lt": "id"}}]},
    ]
    dearer = behind({}, "price", False, Place(Decimal("2.50"), "id"))["$and"]
    assert dearer[1] == {"price": {"$gte": Decimal128("2.50")}}
    assert behind({"is_active": True}, "name", False, None) == {"is_active": True}


class Clock:
    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return mongo.now() + self.ahead


def test_categories_are_counted_again_only_when_a_change_was_told_or_after_a_while(products, stocked):
    clock = Clock()
    finder = DatabaseFinder(clock)
    stocked(1, 1)
    assert finder.categories() == [("kitchen", 2)]
    stocked(1)
    assert finder.categories() == [("kitchen", 2)]
    finder.learn([])
    assert finder.categories() == [("kitchen", 3)]
    stocked(1)
    clock.ahead = TALLIED_FOR
    assert finder.categories() == [("kitchen", 4)]


def test_a_count_that_a_change_overtook_is_not_kept(products, stocked):
    class Overtaken(DatabaseFinder):
        def _counted_categories(self):
            counted = super()._counted_categories()
            stocked(1)
            DatabaseFinder().learn([])
            return counted

    stocked(1)
    assert Overtaken().categories() == [("kitchen", 1)]
    assert DatabaseFinder().categories() == [("kitchen", 2)]


def test_words_are_guessed_by_what_slips_leave_of_them(products):
    finder = DatabaseFinder()
    finder.learn([named("Copper kettle"), named("Kettle"), named("Silk scarf")])
    assert finder.similar("ketlte", 3) == ["kettle"]
    assert finder.similar("copperx", 3) == ["copper"]


@pytest.mark.parametrize("fixed", [["is_active"], ["is_active", "category"]])
@pytest.mark.parametrize("order", FIELDS)
def test_an_index_has_the_rows_of_each_list_in_order(fixed, order):
    field, descends = FIELDS[order]
    walked = [keys for keys in list_keys() if [name for name, _ in keys] == [*fixed, field, "_id"]]
    # An index is walked in either direction, as long as both of its last fields turn with it.
    assert [(keys[-2][1] == keys[-1][1]) for keys in walked] == [True]
    assert descends in (True, False)
