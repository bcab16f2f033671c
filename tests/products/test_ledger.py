"""The stock ledger: every movement once, in order, with the stock after it; restocks, and low stock."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from pymongo.errors import BulkWriteError

from contracts.stock import (
    CommitStock,
    ReleaseStock,
    ReserveStock,
    RestockStock,
    StockLow,
    StockRefused,
    StockRestocked,
)
from services.products.audit import audit
from services.products.models import Entry, Movement, Product, Reservation, ledger
from tests.products.conftest import assert_settled, stock


def entries(product_id):
    """(kind, on hand, held, sold after it) of each entry in the ledger."""
    found = Entry.objects(product_id=str(product_id)).order_by("number")
    return [(entry.kind, entry.on_hand_after, entry.held_after, entry.sold_after) for entry in found]


def sell(deliver, product_id, quantity):
    order_id = uuid4()
    for message in (ReserveStock(order_id, {product_id: quantity}), CommitStock(order_id)):
        assert deliver(message) is None
    return order_id


def test_the_ledger_records_every_movement(stocked, deliver):
    (cups,) = stocked(9)
    sold, released = sell(deliver, cups, 2), uuid4()
    deliver(ReserveStock(released, {cups: 3}))
    ledger.post()
    deliver(ReleaseStock(released))
    deliver(RestockStock(sold))
    ledger.post()
    assert entries(cups) == [
        ("receipt", 9, 0, 0),
        ("hold", 7, 2, 0),
        ("sale", 7, 0, 2),
        ("hold", 4, 3, 2),
        ("release", 7, 0, 2),
        ("restock", 9, 0, 0),
    ]
    references = [entry.reference for entry in Entry.objects(product_id=str(cups)).order_by("number")]
    assert references == [None, *[str(sold)] * 2, *[str(released)] * 2, str(sold)]
    assert Product.objects.get(id=str(cups)).movements == []


def test_a_movement_made_while_others_are_posted_is_posted_next(stocked, deliver):
    (cups,) = stocked(9)
    sell(deliver, cups, 2)
    read = list(Product.stock_of(__raw__=ledger.WAITING))
    sell(deliver, cups, 3)
    ledger.post_of(read)
    ledger.post()
    assert entries(cups) == [
        ("receipt", 9, 0, 0),
        ("hold", 7, 2, 0),
        ("sale", 7, 0, 2),
        ("hold", 4, 3, 2),
        ("sale", 4, 0, 5),
    ]


def test_repeated_and_concurrent_posting_writes_nothing_twice(stocked, deliver):
    products = stocked(50, 50, 50)
    for product in products:
        sell(deliver, product, 1)
    # A worker that reads now and posts after the others, or dies after it wrote the entries.
    late = list(Product.stock_of())
    for product in products:
        sell(deliver, product, 2)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: ledger.post(), range(6)))
    ledger.post_of(late)
    assert [len(entries(product)) for product in products] == [5, 5, 5]
    assert_settled(dict.fromkeys(products, 50))


def test_what_was_sold_is_restocked_once(stocked, deliver, published):
    cups, pots = stocked(5, 5)
    order_id = uuid4()
    for message in (ReserveStock(order_id, {cups: 3, pots: 1}), CommitStock(order_id)):
        deliver(message)
    published()
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(deliver, [RestockStock(order_id)] * 4)) == {None}
    ledger.post()
    deliver(RestockStock(order_id))
    deliver(CommitStock(order_id))
    assert (stock(cups), stock(pots)) == ((5, 0, 0), (5, 0, 0))
    assert set(published()) == {StockRestocked(order_id)}
    assert_settled({cups: 5, pots: 5})


def test_a_restock_of_what_was_never_sold_changes_nothing(stocked, deliver, published):
    (cups,) = stocked(5)
    refused = uuid4()
    deliver(ReserveStock(refused, {cups: 6}))
    assert deliver(RestockStock(refused)) is None
    assert published() == [StockRefused(refused, cups, "out_of_stock")]
    assert deliver(RestockStock(refused)) is None
    assert published() == [StockRestocked(refused)]
    assert stock(cups) == (5, 0, 0)


def test_low_stock_is_published_once_per_fall(stocked, deliver, published):
    (cups,) = stocked(9)
    product = Product.objects.get(id=str(cups))

    def lows():
        for _ in range(2):
            ledger.post()
        return [message for message in published() if isinstance(message, StockLow)]

    sell(deliver, cups, 3)
    assert lows() == []
    order_id = sell(deliver, cups, 2)
    assert lows() == [StockLow(cups, product.sku, 4, 5)]
    sell(deliver, cups, 1)
    assert lows() == []
    deliver(RestockStock(order_id))
    assert lows() == [], "5 are still low"
    again = sell(deliver, cups, 1)
    deliver(RestockStock(again))
    assert lows() == []


def test_low_stock_that_ended_before_it_was_posted_is_published(stocked, deliver, published):
    (cups,) = stocked(6)
    for _ in range(2):
        order_id = uuid4()
        deliver(ReserveStock(order_id, {cups: 1}))
        deliver(ReleaseStock(order_id))
    ledger.post()
    assert [message.on_hand for message in published() if isinstance(message, StockLow)] == [5, 5]


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        (lambda: Product.objects.update(inc__stock_quantity=1), "9 were received, 10 are on hand"),
        (lambda: Product.objects.update(pull__holds__quantity=2), "9 were received, 7 are on hand"),
        (lambda: Entry.objects(kind="hold").first().delete(), "the ledger lacks [2]"),
        (lambda: Entry.objects(kind="sale").update(inc__sold=1), "(sale) goes from"),
        (
            lambda: Product.objects.update(push__movements=_stray(), inc__movement_count=1),
            "3 are held and 0 sold, not 2 and 0",
        ),
        (
            lambda: Reservation.objects(state="committed").update(set__lines__0__quantity=4),
            "0 are held and 3 sold, not 0 and 4",
        ),
        (
            # Every sum is right.
            lambda: Product.objects.update(
                push__movements=Movement.of("count", on_hand=-9), inc__movement_count=1, inc__stock_quantity=-9
            ),
            "the product has (-5, 2, 3)",
        ),
    ],
)
def test_the_audit_reports_differences_and_repairs_nothing(stocked, deliver, damage, finding):
    (cups,) = stocked(9)
    sell(deliver, cups, 3)
    ledger.post()
    deliver(ReserveStock(uuid4(), {cups: 2}))
    assert audit(timeout_seconds=0).differences == []
    damage()
    for _ in range(2):
        assert finding in "".join(audit(timeout_seconds=0).differences)


def test_the_audit_reports_damage_after_everything_was_posted(stocked, deliver):
    (cups,) = stocked(9)
    sell(deliver, cups, 3)
    ledger.post()
    Product.objects.update(inc__stock_quantity=1, inc__sold_quantity=-1)
    (difference,) = audit(timeout_seconds=0).differences
    assert "the ledger ends at (on hand, held, sold) = (6, 0, 3), the product has (7, 0, 2)" in difference


def test_an_entry_that_the_ledger_refuses_stays_with_its_product(stocked, deliver):
    """MongoDB's own validation refuses the entry, for which no worker has posted it before."""
    (cups,) = stocked(9)
    ledger.post()
    database = Entry._get_collection().database
    database.command("collMod", Entry._get_collection_name(), validator={"kind": "none"})
    try:
        deliver(ReserveStock(uuid4(), {cups: 2}))
        with pytest.raises(BulkWriteError):
            ledger.post()
    finally:
        database.command("collMod", Entry._get_collection_name(), validator={})
    ledger.post()
    assert audit(timeout_seconds=0).differences == []


def _stray():
    """A movement of one unit more than the order in progress was promised."""
    return Movement.of("hold", held=1, reference=Reservation.objects.get(state="reserved").order_id)
