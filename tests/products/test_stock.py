"""Stock in the life of an order, by the messages it hears and says."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest

from chassis.messaging.consumer import DeadLetter, Retry
from contracts.stock import (
    CommitStock,
    ReleaseStock,
    ReserveStock,
    StockCommitted,
    StockRefused,
    StockReleased,
    StockReserved,
)
from services.products.models import Product, Reservation
from tests.products.conftest import assert_settled, stock


def test_an_order_holds_all_its_lines(stocked, tell, answers):
    cups, pots = stocked(5, 2)
    order_id = uuid4()
    assert tell(ReserveStock(order_id, {cups: 3, pots: 2})) is None
    assert answers() == [StockReserved(order_id)]
    assert (stock(cups), stock(pots)) == ((2, 3, 0), (0, 2, 0))


@pytest.mark.parametrize("wanted", [(6, 1), (1, 3), (6, 3)])
def test_an_order_that_cannot_have_all_holds_nothing(stocked, tell, answers, wanted):
    products = stocked(5, 2)
    order_id = uuid4()
    tell(ReserveStock(order_id, dict(zip(products, wanted, strict=True))))
    short = products[0] if wanted[0] > 5 else products[1]
    assert answers() == [StockRefused(order_id, short, "out_of_stock")]
    assert [stock(product) for product in products] == [(5, 0, 0), (2, 0, 0)]


def test_what_is_not_for_sale_is_refused(stocked, tell, answers, http, staff):
    (cups,) = stocked(5)
    http.delete(f"/products/{cups}", headers=staff)
    for product_id in (cups, uuid4()):
        order_id = uuid4()
        tell(ReserveStock(order_id, {product_id: 1}))
        assert answers() == [StockRefused(order_id, product_id, "not_for_sale")]


def test_what_is_committed_is_sold(stocked, tell, answers):
    cups, pots = stocked(5, 2)
    order_id = uuid4()
    for message in (ReserveStock(order_id, {cups: 3, pots: 2}), CommitStock(order_id), CommitStock(order_id)):
        assert tell(message) is None
    assert (stock(cups), stock(pots)) == ((2, 0, 3), (0, 0, 2))
    assert answers() == [StockReserved(order_id), StockCommitted(order_id)]


def test_what_is_released_is_on_hand_again(stocked, tell, answers):
    cups, pots = stocked(5, 2)
    order_id = uuid4()
    for message in (ReserveStock(order_id, {cups: 3, pots: 2}), ReleaseStock(order_id), ReleaseStock(order_id)):
        assert tell(message) is None
    assert (stock(cups), stock(pots)) == ((5, 0, 0), (2, 0, 0))
    assert answers() == [StockReserved(order_id), StockReleased(order_id)]


def test_what_was_taken_off_sale_while_held_is_sold_all_the_same(stocked, tell, http, staff):
    (cups,) = stocked(5)
    order_id = uuid4()
    tell(ReserveStock(order_id, {cups: 3}))
    http.delete(f"/products/{cups}", headers=staff)
    assert tell(CommitStock(order_id)) is None
    assert stock(cups) == (2, 0, 3)


def test_the_same_command_again_moves_nothing_and_is_answered_again(stocked, tell, answers):
    (cups,) = stocked(5)
    kept, refused = uuid4(), uuid4()
    for _ in range(2):
        tell(ReserveStock(kept, {cups: 3}))
        tell(ReserveStock(refused, {cups: 3}))
        assert answers() == [StockReserved(kept), StockRefused(refused, cups, "out_of_stock")]
        assert stock(cups) == (2, 3, 0)


def test_an_answer_that_still_waits_is_not_said_twice(stocked, tell, answers):
    (cups,) = stocked(5)
    order_id = uuid4()
    for _ in range(3):
        tell(ReserveStock(order_id, {cups: 3}))
    assert answers() == [StockReserved(order_id)]


def test_nothing_is_held_for_an_order_that_was_called_off_before(stocked, tell, answers):
    (cups,) = stocked(5)
    order_id = uuid4()
    for message in (ReleaseStock(order_id), ReserveStock(order_id, {cups: 3}), ReleaseStock(order_id)):
        assert tell(message) is None
    assert stock(cups) == (5, 0, 0)
    assert answers() == [StockReleased(order_id)]


def test_a_release_of_what_was_refused_changes_nothing(stocked, tell, answers):
    cups, pots = stocked(5, 2)
    order_id = uuid4()
    assert tell(ReserveStock(order_id, {cups: 3, pots: 3})) is None
    assert tell(ReleaseStock(order_id)) is None
    assert_settled({cups: 5, pots: 2})
    assert answers()[-1] == StockRefused(order_id, pots, "out_of_stock")
    assert tell(ReleaseStock(order_id)) is None
    assert answers() == [StockReleased(order_id)]


def test_what_is_sold_is_not_released(stocked, tell):
    (cups,) = stocked(5)
    order_id = uuid4()
    tell(ReserveStock(order_id, {cups: 3}))
    tell(CommitStock(order_id))
    assert isinstance(tell(ReleaseStock(order_id)), DeadLetter)
    assert tell(ReserveStock(order_id, {cups: 3})) is None
    assert stock(cups) == (2, 0, 3)


def test_what_was_released_is_not_sold(stocked, tell):
    (cups,) = stocked(5)
    order_id = uuid4()
    tell(ReserveStock(order_id, {cups: 3}))
    tell(ReleaseStock(order_id))
    verdict = tell(CommitStock(order_id))
    assert isinstance(verdict, DeadLetter)
    assert "released" in verdict.reason
    assert stock(cups) == (5, 0, 0)


def test_what_was_refused_is_refused_again_when_it_is_to_be_sold(stocked, tell, answers):
    (cups,) = stocked(5)
    order_id = uuid4()
    tell(ReserveStock(order_id, {cups: 6}))
    assert answers() == [StockRefused(order_id, cups, "out_of_stock")]
    assert tell(CommitStock(order_id)) is None
    assert answers() == [StockRefused(order_id, cups, "out_of_stock")]
    assert stock(cups) == (5, 0, 0)


def test_a_commit_that_overtook_its_reservation_waits_for_it(stocked, tell):
    (cups,) = stocked(5)
    order_id = uuid4()
    assert tell(CommitStock(order_id)) == Retry(0)
    tell(ReserveStock(order_id, {cups: 3}))
    assert tell(CommitStock(order_id)) is None
    assert stock(cups) == (2, 0, 3)


@pytest.mark.parametrize("quantities", [{}, {UUID(int=7): 0}, {UUID(int=7): -5}])
def test_an_order_of_nothing_or_less_is_dead(tell, quantities):
    order_id = uuid4()
    assert isinstance(tell(ReserveStock(order_id, quantities)), DeadLetter)
    assert Reservation.objects(order_id=str(order_id)).count() == 0


def test_stock_that_moved_is_a_change_that_a_count_must_have_seen(stocked, tell, http, staff):
    (cups,) = stocked(5)
    path = f"/products/{cups}"
    seen = http.get(path)
    tell(ReserveStock(uuid4(), {cups: 3}))
    body = {name: seen.json[name] for name in ("sku", "name", "category", "price")} | {"stock_quantity": 5}
    assert http.put(path, json=body, headers={**staff, "If-Match": seen.headers["ETag"]}).status_code == 412
    assert stock(cups) == (2, 3, 0)


def test_of_many_orders_at_once_as_many_hold_as_there_is_stock(stocked, tell, answers):
    cups, pots = stocked(5, 40)
    commands = [ReserveStock(uuid4(), {cups: 1, pots: 1}) for _ in range(24)]
    with ThreadPoolExecutor(12) as pool:
        assert set(pool.map(tell, commands)) == {None}
    said = Counter(type(answer) for answer in answers())
    assert said == {StockReserved: 5, StockRefused: 19}
    assert (stock(cups), stock(pots)) == ((0, 5, 0), (35, 5, 0))
    assert_settled({cups: 5, pots: 40})


def test_one_command_delivered_many_times_at_once_is_one_hold(stocked, tell):
    cups, pots = stocked(50, 50)
    command = ReserveStock(uuid4(), {cups: 3, pots: 3})
    with ThreadPoolExecutor(8) as pool:
        verdicts = list(pool.map(tell, [command] * 16))
    # Who came in the way of another looks again later.
    assert set(verdicts) <= {None, Retry(0)}
    assert tell(command) is None
    assert (stock(cups), stock(pots)) == ((47, 3, 0), (47, 3, 0))


def test_holds_name_their_order(stocked, tell):
    (cups,) = stocked(5)
    order_id = uuid4()
    tell(ReserveStock(order_id, {cups: 3}))
    (hold,) = Product.objects.get(id=str(cups)).holds
    assert (hold.order_id, hold.quantity, hold.held_at.utcoffset().total_seconds()) == (str(order_id), 3, 0)
