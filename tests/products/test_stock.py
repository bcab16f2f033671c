"""Stock in the life of an order, by the messages handled and published."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from chassis.messaging.consumer import DeadLetter, Retry
from chassis.storage import mongo
from contracts.stock import (
    CommitStock,
    ReleaseStock,
    ReserveStock,
    RestockStock,
    StockCommitted,
    StockRefused,
    StockReleased,
    StockReserved,
    StockRestocked,
)
from services.products.models import Movement, Product, Reservation, Stock
from services.products.models.movement import ADJUSTMENT
from services.products.models.reservation import Overtaken
from services.products.models.stock import MAX_HOLDS, MAX_WAITING, OVERTAKEN
from tests.products.conftest import assert_settled, stock

ATTEMPTS = 6


def test_an_order_holds_all_its_lines(stocked, deliver, published):
    cups, pots = stocked(5, 2)
    order_id = uuid4()
    assert deliver(ReserveStock(order_id, {cups: 3, pots: 2})) is None
    assert published() == [StockReserved(order_id)]
    assert (stock(cups), stock(pots)) == ((2, 3, 0), (0, 2, 0))


@pytest.mark.parametrize("wanted", [(6, 1), (1, 3), (6, 3)])
def test_an_order_that_cannot_hold_all_its_lines_holds_none(stocked, deliver, published, wanted):
    products = stocked(5, 2)
    order_id = uuid4()
    # The reason names the first by id, in whatever order the lines come.
    deliver(ReserveStock(order_id, dict(zip(reversed(products), reversed(wanted), strict=True))))
    short = products[0] if wanted[0] > 5 else products[1]
    assert published() == [StockRefused(order_id, short, "out_of_stock")]
    assert [stock(product) for product in products] == [(5, 0, 0), (2, 0, 0)]


def test_an_order_of_what_is_not_for_sale_is_refused(stocked, deliver, published, http, staff):
    (cups,) = stocked(5)
    http.delete(f"/products/{cups}", headers=staff)
    for product_id in (cups, uuid4()):
        order_id = uuid4()
        deliver(ReserveStock(order_id, {product_id: 1}))
        assert published() == [StockRefused(order_id, product_id, "not_for_sale")]


@pytest.mark.parametrize(("field", "most"), [("holds", MAX_HOLDS), ("movements", MAX_WAITING)])
def test_a_product_with_too_much_in_progress_is_held_later(stocked, deliver, field, most):
    """Its document must not outgrow what the database can store."""
    (cups,) = stocked(5)
    entries = {
        "holds": {"order_id": "another", "attempt": 1, "quantity": 0, "held_at": mongo.now()},
        "movements": Movement.of(ADJUSTMENT).to_mongo().to_dict(),
    }

    def fill(count):
        Product._get_collection().update_one({"_id": str(cups)}, {"$set": {field: [entries[field]] * count}})

    order_id = uuid4()
    fill(most)
    assert deliver(ReserveStock(order_id, {cups: 1})) == Retry(0)
    assert stock(cups) == (5, 0, 0)
    fill(most - 1)
    assert deliver(ReserveStock(order_id, {cups: 1})) is None
    assert stock(cups) == (4, 1, 0)


def test_a_committed_order_is_sold(stocked, deliver, published):
    cups, pots = stocked(5, 2)
    order_id = uuid4()
    for message in (ReserveStock(order_id, {cups: 3, pots: 2}), CommitStock(order_id), CommitStock(order_id)):
        assert deliver(message) is None
    assert (stock(cups), stock(pots)) == ((2, 0, 3), (0, 0, 2))
    assert published() == [StockReserved(order_id), StockCommitted(order_id)]


def test_a_released_order_is_on_hand_again(stocked, deliver, published):
    cups, pots = stocked(5, 2)
    order_id = uuid4()
    for message in (ReserveStock(order_id, {cups: 3, pots: 2}), ReleaseStock(order_id), ReleaseStock(order_id)):
        assert deliver(message) is None
    assert (stock(cups), stock(pots)) == ((5, 0, 0), (2, 0, 0))
    assert published() == [StockReserved(order_id), StockReleased(order_id)]


def test_a_held_product_that_was_taken_off_sale_is_sold(stocked, deliver, http, staff):
    (cups,) = stocked(5)
    order_id = uuid4()
    deliver(ReserveStock(order_id, {cups: 3}))
    http.delete(f"/products/{cups}", headers=staff)
    assert deliver(CommitStock(order_id)) is None
    assert stock(cups) == (2, 0, 3)


def test_a_repeated_command_moves_nothing_and_gets_a_reply(stocked, deliver, published):
    (cups,) = stocked(5)
    kept, refused = uuid4(), uuid4()
    for _ in range(2):
        deliver(ReserveStock(kept, {cups: 3}))
        deliver(ReserveStock(refused, {cups: 3}))
        assert published() == [StockReserved(kept), StockRefused(refused, cups, "out_of_stock")]
        assert stock(cups) == (2, 3, 0)


def test_an_unsent_reply_is_not_repeated(stocked, deliver, published):
    (cups,) = stocked(5)
    order_id = uuid4()
    for _ in range(3):
        deliver(ReserveStock(order_id, {cups: 3}))
    assert published() == [StockReserved(order_id)]


def test_nothing_is_held_for_an_order_released_before(stocked, deliver, published):
    (cups,) = stocked(5)
    order_id = uuid4()
    for message in (ReleaseStock(order_id), ReserveStock(order_id, {cups: 3}), ReleaseStock(order_id)):
        assert deliver(message) is None
    assert stock(cups) == (5, 0, 0)
    assert published() == [StockReleased(order_id)]


def test_a_release_of_a_refused_order_changes_nothing(stocked, deliver, published):
    cups, pots = stocked(5, 2)
    order_id = uuid4()
    assert deliver(ReserveStock(order_id, {cups: 3, pots: 3})) is None
    assert deliver(ReleaseStock(order_id)) is None
    assert_settled({cups: 5, pots: 2})
    assert published()[-1] == StockRefused(order_id, pots, "out_of_stock")
    assert deliver(ReleaseStock(order_id)) is None
    assert published() == [StockReleased(order_id)]


def test_a_sold_order_cannot_be_released(stocked, deliver):
    (cups,) = stocked(5)
    order_id = uuid4()
    deliver(ReserveStock(order_id, {cups: 3}))
    deliver(CommitStock(order_id))
    assert isinstance(deliver(ReleaseStock(order_id)), DeadLetter)
    assert deliver(ReserveStock(order_id, {cups: 3})) is None
    assert stock(cups) == (2, 0, 3)


def test_a_released_order_cannot_be_sold(stocked, deliver):
    (cups,) = stocked(5)
    order_id = uuid4()
    deliver(ReserveStock(order_id, {cups: 3}))
    deliver(ReleaseStock(order_id))
    verdict = deliver(CommitStock(order_id))
    assert isinstance(verdict, DeadLetter)
    assert "released" in verdict.reason
    assert stock(cups) == (5, 0, 0)


def test_a_commit_of_a_refused_order_is_refused(stocked, deliver, published):
    (cups,) = stocked(5)
    order_id = uuid4()
    deliver(ReserveStock(order_id, {cups: 6}))
    assert published() == [StockRefused(order_id, cups, "out_of_stock")]
    assert deliver(CommitStock(order_id)) is None
    assert published() == [StockRefused(order_id, cups, "out_of_stock")]
    assert stock(cups) == (5, 0, 0)


def test_a_commit_before_its_reservation_is_retried(stocked, deliver):
    (cups,) = stocked(5)
    order_id = uuid4()
    assert deliver(CommitStock(order_id)) == Retry(0)
    deliver(ReserveStock(order_id, {cups: 3}))
    assert deliver(CommitStock(order_id)) is None
    assert stock(cups) == (2, 0, 3)


@pytest.mark.parametrize("quantities", [{}, {UUID(int=7): 0}, {UUID(int=7): -5}])
def test_an_order_without_positive_quantities_is_a_dead_letter(deliver, quantities):
    order_id = uuid4()
    assert isinstance(deliver(ReserveStock(order_id, quantities)), DeadLetter)
    assert Reservation.objects(order_id=str(order_id)).count() == 0


def test_a_count_must_have_seen_the_latest_stock_move(stocked, deliver, http, staff):
    (cups,) = stocked(5)
    path = f"/products/{cups}"
    seen = http.get(path)
    deliver(ReserveStock(uuid4(), {cups: 3}))
    body = {name: seen.json[name] for name in ("sku", "name", "category", "price")} | {"stock_quantity": 5}
    assert http.put(path, json=body, headers={**staff, "If-Match": seen.headers["ETag"]}).status_code == 412
    assert stock(cups) == (2, 3, 0)


def test_of_concurrent_orders_as_many_hold_as_there_is_stock(stocked, deliver, published):
    cups, pots = stocked(5, 40)
    commands = [ReserveStock(uuid4(), {cups: 1, pots: 1}) for _ in range(24)]
    with ThreadPoolExecutor(12) as pool:
        assert set(pool.map(deliver, commands)) == {None}
    replies = Counter(type(message) for message in published())
    assert replies == {StockReserved: 5, StockRefused: 19}
    assert (stock(cups), stock(pots)) == ((0, 5, 0), (35, 5, 0))
    assert_settled({cups: 5, pots: 40})


def test_concurrent_deliveries_of_one_command_are_one_hold(stocked, deliver):
    cups, pots = stocked(50, 50)
    command = ReserveStock(uuid4(), {cups: 3, pots: 3})
    with ThreadPoolExecutor(8) as pool:
        verdicts = list(pool.map(deliver, [command] * 16))
    # A delivery that met another is retried.
    assert set(verdicts) <= {None, Retry(0)}
    assert deliver(command) is None
    assert (stock(cups), stock(pots)) == ((47, 3, 0), (47, 3, 0))


def test_holds_name_their_order(stocked, deliver):
    (cups,) = stocked(5)
    order_id = uuid4()
    deliver(ReserveStock(order_id, {cups: 3}))
    (hold,) = Product.objects.get(id=str(cups)).holds
    assert (hold.order_id, hold.quantity, hold.held_at.utcoffset().total_seconds()) == (str(order_id), 3, 0)


def test_each_of_concurrent_attempts_has_its_own_number(products):
    order_id, quantities, hold_time = uuid4(), {uuid4(): 1}, timedelta(minutes=15)
    Reservation.begin(order_id, quantities, hold_time)
    together = threading.Barrier(ATTEMPTS)

    def attempt(_):
        together.wait()
        with suppress(Overtaken):
            return Reservation.begin(order_id, quantities, hold_time).attempt

    with ThreadPoolExecutor(ATTEMPTS) as pool:
        for _ in range(ATTEMPTS):
            numbers = [number for number in pool.map(attempt, range(ATTEMPTS)) if number]
            assert numbers
            assert len(numbers) == len(set(numbers))


def test_an_earlier_attempt_does_not_take_what_a_later_one_holds(stocked):
    (cups,) = map(str, stocked(5))
    order_id = str(uuid4())
    assert Stock().hold(cups, order_id, attempt=2, quantity=3) is None
    assert Stock().hold(cups, order_id, attempt=1, quantity=3) == OVERTAKEN
    assert Stock().hold(cups, order_id, attempt=3, quantity=3) is None


def test_a_stock_move_is_a_change_of_its_product(stocked, deliver):
    """The search index follows changes by their moment."""
    (cups,) = stocked(5)
    Product.objects(id=str(cups)).update_one(set__updated_at=mongo.BEGINNING)
    deliver(ReserveStock(uuid4(), {cups: 1}))
    assert Product.objects.get(id=str(cups)).updated_at > mongo.BEGINNING


@pytest.mark.parametrize("before", ["refused", "released"])
def test_an_order_that_holds_nothing_is_released_and_restocked_at_once(stocked, deliver, published, before):
    (cups,) = stocked(5)
    order_id = uuid4()
    deliver(ReserveStock(order_id, {cups: 6}) if before == "refused" else ReleaseStock(order_id))
    published()
    for command, reply in ((RestockStock, StockRestocked), (ReleaseStock, StockReleased)):
        for _ in range(2):
            assert deliver(command(order_id)) is None
            assert published() == [reply(order_id)]
    assert stock(cups) == (5, 0, 0)
