"""The stock ledger: every movement once, in order, with what it left; told from it: what came back, and what runs low."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

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


def sell(tell, product_id, quantity):
    order_id = uuid4()
    for message in (ReserveStock(order_id, {product_id: quantity}), CommitStock(order_id)):
        assert tell(message) is None
    return order_id


def test_a_life_of_stock_is_in_the_ledger(stocked, tell):
    (cups,) = stocked(9)
    sold, called_off = sell(tell, cups, 2), uuid4()
    tell(ReserveStock(called_off, {cups: 3}))
    ledger.post()
    tell(ReleaseStock(called_off))
    tell(RestockStock(sold))
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
    assert references == [None, *[str(sold)] * 2, *[str(called_off)] * 2, str(sold)]
    assert Product.objects.get(id=str(cups)).movements == []


def test_posting_again_or_at_once_writes_nothing_twice(stocked, tell):
    products = stocked(50, 50, 50)
    for product in products:
        sell(tell, product, 1)
    # A worker that reads now, and posts only after the others; or dies after it wrote the entries.
    late = list(Product.stock_of())
    for product in products:
        sell(tell, product, 2)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: ledger.post(), range(6)))
    ledger.post_of(late)
    assert [len(entries(product)) for product in products] == [5, 5, 5]
    assert_settled(dict.fromkeys(products, 50))


def test_what_was_sold_comes_back_once(stocked, tell, answers):
    cups, pots = stocked(5, 5)
    order_id = uuid4()
    for message in (ReserveStock(order_id, {cups: 3, pots: 1}), CommitStock(order_id)):
        tell(message)
    answers()
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(tell, [RestockStock(order_id)] * 4)) == {None}
    ledger.post()
    tell(RestockStock(order_id))
    tell(CommitStock(order_id))
    assert (stock(cups), stock(pots)) == ((5, 0, 0), (5, 0, 0))
    assert set(answers()) == {StockRestocked(order_id)}
    assert_settled({cups: 5, pots: 5})


def test_there_is_nothing_to_take_back_of_what_was_never_sold(stocked, tell, answers):
    (cups,) = stocked(5)
    refused = uuid4()
    tell(ReserveStock(refused, {cups: 6}))
    assert tell(RestockStock(refused)) is None
    assert answers() == [StockRefused(refused, cups, "out_of_stock")]
    assert tell(RestockStock(refused)) is None
    assert answers() == [StockRestocked(refused)]
    assert stock(cups) == (5, 0, 0)


def test_running_low_is_said_once_for_each_crossing(stocked, tell, answers):
    (cups,) = stocked(9)
    product = Product.objects.get(id=str(cups))

    def lows():
        for _ in range(2):
            ledger.post()
        return [said for said in answers() if isinstance(said, StockLow)]

    sell(tell, cups, 3)
    assert lows() == []
    order_id = sell(tell, cups, 2)
    assert lows() == [StockLow(cups, product.sku, 4, 5)]
    sell(tell, cups, 1)
    assert lows() == []
    tell(RestockStock(order_id))
    assert lows() == [], "5 are still few"
    again = sell(tell, cups, 1)
    tell(RestockStock(again))
    assert lows() == []


def test_a_low_that_was_over_before_anybody_looked_was_one_all_the_same(stocked, tell, answers):
    (cups,) = stocked(6)
    for _ in range(2):
        order_id = uuid4()
        tell(ReserveStock(order_id, {cups: 1}))
        tell(ReleaseStock(order_id))
    ledger.post()
    assert [said.on_hand for said in answers() if isinstance(said, StockLow)] == [5, 5]


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda: Product.objects.update(inc__stock_quantity=1), "9 were received, 10 are on hand"),
        (lambda: Product.objects.update(pull__holds__quantity=2), "9 were received, 7 are on hand"),
        (lambda: Entry.objects(kind="hold").first().delete(), "the ledger lacks [2]"),
        (lambda: Entry.objects(kind="sale").update(inc__sold=1), "(sale) goes from"),
        (
            lambda: Product.objects.update(push__movements=_stray(), inc__movement_count=1),
            "3 are held and 0 sold, not 2 and 0",
        ),
    ],
)
def test_whatever_differs_the_audit_names_it_and_leaves_it(stocked, tell, harm, said):
    (cups,) = stocked(9)
    sell(tell, cups, 3)
    ledger.post()
    tell(ReserveStock(uuid4(), {cups: 2}))
    assert audit(patience_seconds=0).differences == []
    harm()
    for _ in range(2):
        assert said in "".join(audit(patience_seconds=0).differences)


def test_what_went_wrong_after_everything_was_posted_is_named_too(stocked, tell):
    (cups,) = stocked(9)
    sell(tell, cups, 3)
    ledger.post()
    Product.objects.update(inc__stock_quantity=1, inc__sold_quantity=-1)
    (difference,) = audit(patience_seconds=0).differences
    assert "the ledger ends at (on hand, held, sold) = (6, 0, 3), the product says (7, 0, 2)" in difference


def _stray():
    """A movement of one piece more than the order that is in hand was promised."""
    return Movement.of("hold", held=1, reference=Reservation.objects.get(state="reserved").order_id)
