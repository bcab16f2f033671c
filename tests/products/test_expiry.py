"""Holds end by themselves; whoever comes for one too late is answered by what is there then."""

from uuid import UUID, uuid4

from chassis.messaging.consumer import Retry
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
)
from services.products import saga
from services.products.models import Reservation, Stock
from services.products.saga import EXPIRED_HOLDS, REFUSALS
from services.products.settings import Settings
from tests.products.conftest import assert_settled, stock


def pass_time(order_id: UUID) -> None:
    """Until the order's hold is over, and the worker's timer looks."""
    Reservation.objects(order_id=str(order_id), expires_at__exists=True).update_one(set__expires_at=mongo.now())
    saga.expire()


def test_a_hold_lasts_as_long_as_is_set(stocked, tell):
    (cups,) = stocked(5)
    order_id = uuid4()
    tell(ReserveStock(order_id, {cups: 3}))
    saga.expire()
    assert stock(cups) == (2, 3, 0)
    reservation = Reservation.objects.get(order_id=str(order_id))
    lasts = (reservation.expires_at - reservation.created_at).total_seconds()
    assert abs(lasts - Settings.current().hold_seconds) < 1


def test_what_was_held_for_too_long_is_on_hand_again_and_nobody_is_told(stocked, tell, answers):
    cups, pots = stocked(5, 5)
    order_id = uuid4()
    tell(ReserveStock(order_id, {cups: 3, pots: 1}))
    assert answers() == [StockReserved(order_id)]
    pass_time(order_id)
    assert (stock(cups), stock(pots)) == ((5, 0, 0), (5, 0, 0))
    assert answers() == []
    assert Reservation.overdue(10).count() == 0


def test_an_expired_hold_is_sold_where_the_pieces_are_still_there(stocked, tell, answers):
    cups, pots = stocked(5, 5)
    order_id = uuid4()
    tell(ReserveStock(order_id, {cups: 3, pots: 1}))
    pass_time(order_id)
    for _ in range(2):
        assert tell(CommitStock(order_id)) is None
    assert (stock(cups), stock(pots)) == ((2, 0, 3), (4, 0, 1))
    assert answers() == [StockReserved(order_id), StockCommitted(order_id)]
    assert_settled({cups: 5, pots: 5})


def test_an_expired_hold_is_refused_where_the_pieces_are_gone(stocked, tell, answers):
    cups, pots = stocked(5, 5)
    late, other = uuid4(), uuid4()
    tell(ReserveStock(late, {cups: 3, pots: 4}))
    pass_time(late)
    tell(ReserveStock(other, {pots: 2}))
    answers()
    assert tell(CommitStock(late)) is None
    assert answers() == [StockRefused(late, pots, "out_of_stock")]
    assert (stock(cups), stock(pots)) == ((5, 0, 0), (3, 2, 0))
    assert tell(CommitStock(late)) is None
    assert answers() == [StockRefused(late, pots, "out_of_stock")]


def test_an_expired_hold_can_be_asked_for_and_called_off_again(stocked, tell, answers):
    (cups,) = stocked(5)
    order_id = uuid4()
    tell(ReserveStock(order_id, {cups: 3}))
    pass_time(order_id)
    tell(ReserveStock(order_id, {cups: 3}))
    assert stock(cups) == (2, 3, 0)
    pass_time(order_id)
    tell(ReleaseStock(order_id))
    assert stock(cups) == (5, 0, 0)
    assert answers()[-1] == StockReleased(order_id)
    assert tell(ReserveStock(order_id, {cups: 3})) is None
    assert_settled({cups: 5})


def test_what_was_half_held_when_everybody_forgot_it_expires_too(stocked):
    cups, pots = stocked(5, 5)
    order_id = uuid4()
    reservation = Reservation.begin(order_id, {cups: 3, pots: 3}, saga._lasts())
    Stock().hold(str(cups), str(order_id), reservation.attempt, 3)
    pass_time(order_id)
    assert_settled({cups: 5, pots: 5})
    assert stock(cups) == (5, 0, 0)


def test_an_expiry_that_broke_off_is_finished_by_the_next(stocked, tell):
    (cups,) = stocked(5)
    order_id = uuid4()
    tell(ReserveStock(order_id, {cups: 3}))
    Reservation.objects.update(set__expires_at=mongo.now())
    (reservation,) = Reservation.overdue(10)
    assert reservation.expire()
    assert stock(cups) == (2, 3, 0)
    saga.expire()
    assert stock(cups) == (5, 0, 0)


def test_a_sale_beats_an_expiry_that_looked_before_it(stocked, tell):
    (cups,) = stocked(5)
    order_id = uuid4()
    tell(ReserveStock(order_id, {cups: 3}))
    Reservation.objects.update(set__expires_at=mongo.now())
    (reservation,) = Reservation.overdue(10)
    tell(CommitStock(order_id))
    assert not reservation.expire()
    assert stock(cups) == (2, 0, 3)


def test_a_late_expiry_does_not_put_back_what_is_held_anew(stocked, tell):
    """The timer stops between its decision and its work, while the order is sold after all."""
    (cups,) = stocked(5)
    order_id = uuid4()

    class SoldMeanwhile(Stock):
        def put_back(self, *arguments, **options):
            tell(CommitStock(order_id))
            super().put_back(*arguments, **options)

    tell(ReserveStock(order_id, {cups: 3}))
    Reservation.objects.update(set__expires_at=mongo.now())
    saga.expire(SoldMeanwhile())
    assert stock(cups) == (2, 0, 3)
    assert_settled({cups: 5})


def test_restocking_waits_for_a_sale_that_is_on_its_way(stocked, tell):
    (cups,) = stocked(5)
    order_id = uuid4()
    assert tell(RestockStock(order_id)) == Retry(0)
    tell(ReserveStock(order_id, {cups: 3}))
    assert tell(RestockStock(order_id)) == Retry(0)
    pass_time(order_id)
    assert tell(RestockStock(order_id)) == Retry(0)


def test_refusals_and_holds_that_ended_are_counted(stocked, tell):
    (cups,) = stocked(5)
    refused, ended = REFUSALS.labels("out_of_stock")._value.get(), EXPIRED_HOLDS._value.get()
    order_id = uuid4()
    tell(ReserveStock(uuid4(), {cups: 6}))
    tell(ReserveStock(order_id, {cups: 5}))
    pass_time(order_id)
    assert REFUSALS.labels("out_of_stock")._value.get() == refused + 1
    assert EXPIRED_HOLDS._value.get() == ended + 1
