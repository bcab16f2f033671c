"""Holds expire; a command that comes too late is answered by what is on hand then."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from chassis.base.clock import LEEWAY
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
from services.products import reservations
from services.products.models import Reservation, Stock
from services.products.reservations import EXPIRED_HOLDS, REFUSALS
from services.products.settings import Settings
from tests.products.conftest import assert_settled, stock


def pass_time(order_id: UUID) -> None:
    """Until the order's hold is over and the worker's timer runs."""
    Reservation.objects(order_id=str(order_id), expires_at__exists=True).update_one(
        set__expires_at=mongo.now() - LEEWAY
    )
    reservations.expire()


def test_a_hold_does_not_end_early_by_another_machines_clock(stocked, deliver):
    (cups,) = stocked(5)
    order_id = uuid4()
    deliver(ReserveStock(order_id, {cups: 3}))
    ended = mongo.now() - LEEWAY + timedelta(seconds=5)
    Reservation.objects(order_id=str(order_id)).update_one(set__expires_at=ended)
    reservations.expire()
    assert stock(cups) == (2, 3, 0)


def test_a_hold_lasts_as_long_as_is_set(stocked, deliver):
    (cups,) = stocked(5)
    order_id = uuid4()
    deliver(ReserveStock(order_id, {cups: 3}))
    reservations.expire()
    assert stock(cups) == (2, 3, 0)
    reservation = Reservation.objects.get(order_id=str(order_id))
    seconds = (reservation.expires_at - reservation.created_at).total_seconds()
    assert abs(seconds - Settings.current().hold_seconds) < 1


def test_an_expired_hold_is_on_hand_again_and_nothing_is_published(stocked, deliver, published):
    cups, pots = stocked(5, 5)
    order_id = uuid4()
    deliver(ReserveStock(order_id, {cups: 3, pots: 1}))
    assert published() == [StockReserved(order_id)]
    pass_time(order_id)
    assert (stock(cups), stock(pots)) == ((5, 0, 0), (5, 0, 0))
    assert published() == []
    assert Reservation.overdue(10).count() == 0


def test_an_expired_hold_is_sold_where_the_units_are_still_there(stocked, deliver, published):
    cups, pots = stocked(5, 5)
    order_id = uuid4()
    deliver(ReserveStock(order_id, {cups: 3, pots: 1}))
    pass_time(order_id)
    for _ in range(2):
        assert deliver(CommitStock(order_id)) is None
    assert (stock(cups), stock(pots)) == ((2, 0, 3), (4, 0, 1))
    assert published() == [StockReserved(order_id), StockCommitted(order_id)]
    assert_settled({cups: 5, pots: 5})


def test_an_expired_hold_is_refused_where_the_units_are_gone(stocked, deliver, published):
    cups, pots = stocked(5, 5)
    late, other = uuid4(), uuid4()
    deliver(ReserveStock(late, {cups: 3, pots: 4}))
    pass_time(late)
    deliver(ReserveStock(other, {pots: 2}))
    published()
    assert deliver(CommitStock(late)) is None
    assert published() == [StockRefused(late, pots, "out_of_stock")]
    assert (stock(cups), stock(pots)) == ((5, 0, 0), (3, 2, 0))
    assert deliver(CommitStock(late)) is None
    assert published() == [StockRefused(late, pots, "out_of_stock")]


def test_an_expired_hold_can_be_reserved_and_released_again(stocked, deliver, published):
    (cups,) = stocked(5)
    order_id = uuid4()
    deliver(ReserveStock(order_id, {cups: 3}))
    pass_time(order_id)
    deliver(ReserveStock(order_id, {cups: 3}))
    assert stock(cups) == (2, 3, 0)
    reservations.expire()
    assert stock(cups) == (2, 3, 0), "the second hold lasts as long as the first"
    pass_time(order_id)
    assert stock(cups) == (5, 0, 0)
    deliver(ReleaseStock(order_id))
    assert stock(cups) == (5, 0, 0)
    assert published()[-1] == StockReleased(order_id)
    assert deliver(ReserveStock(order_id, {cups: 3})) is None
    assert_settled({cups: 5})


def test_an_abandoned_reservation_that_is_half_held_expires_too(stocked):
    cups, pots = stocked(5, 5)
    order_id = uuid4()
    reservation = Reservation.begin(order_id, {cups: 3, pots: 3}, reservations.hold_time())
    Stock().hold(str(cups), str(order_id), reservation.attempt, 3)
    pass_time(order_id)
    assert_settled({cups: 5, pots: 5})
    assert stock(cups) == (5, 0, 0)


def test_an_interrupted_expiry_is_finished_by_the_next(stocked, deliver):
    (cups,) = stocked(5)
    order_id = uuid4()
    deliver(ReserveStock(order_id, {cups: 3}))
    Reservation.objects.update(set__expires_at=mongo.now() - LEEWAY)

    class Dies(Stock):
        def put_back(self, *arguments, **options):
            raise ConnectionError

    with pytest.raises(ConnectionError):
        reservations.expire(Dies())
    assert stock(cups) == (2, 3, 0)
    reservations.expire()
    assert stock(cups) == (5, 0, 0)


def test_the_oldest_holds_expire_first(stocked, deliver):
    (cups,) = stocked(5)
    order_ids = [uuid4() for _ in range(3)]
    for minutes, order_id in zip((1, 3, 2), order_ids, strict=True):
        deliver(ReserveStock(order_id, {cups: 1}))
        Reservation.objects(order_id=str(order_id)).update(set__expires_at=mongo.now() - timedelta(minutes=minutes))
    assert [each.order_id for each in Reservation.overdue(2)] == [str(order_ids[1]), str(order_ids[2])]
    reservations.expire()
    assert stock(cups) == (5, 0, 0)


def test_a_sale_beats_an_expiry_that_looked_before_it(stocked, deliver):
    (cups,) = stocked(5)
    order_id = uuid4()
    deliver(ReserveStock(order_id, {cups: 3}))
    Reservation.objects.update(set__expires_at=mongo.now() - LEEWAY)
    (reservation,) = Reservation.overdue(10)
    deliver(CommitStock(order_id))
    assert not reservation.expire()
    assert stock(cups) == (2, 0, 3)


@pytest.mark.parametrize("end", [CommitStock, ReleaseStock])
def test_an_order_that_ended_does_not_expire(stocked, deliver, end):
    (cups,) = stocked(5)
    order_id = uuid4()
    deliver(ReserveStock(order_id, {cups: 3}))
    Reservation.objects.update(set__expires_at=mongo.now() - LEEWAY)
    deliver(end(order_id))
    reservations.expire()
    deliver(ReserveStock(order_id, {cups: 3}))
    assert stock(cups) == ((2, 0, 3) if end is CommitStock else (5, 0, 0))
    assert deliver(RestockStock(order_id)) is None
    assert stock(cups) == (5, 0, 0)


def test_a_hold_sold_after_it_expired_does_not_expire_again(stocked, deliver):
    (cups,) = stocked(5)
    order_id = uuid4()
    deliver(ReserveStock(order_id, {cups: 3}))
    pass_time(order_id)
    deliver(CommitStock(order_id))
    pass_time(order_id)
    assert deliver(RestockStock(order_id)) is None
    assert stock(cups) == (5, 0, 0)


def test_a_refused_order_does_not_expire(stocked, deliver, published):
    (cups,) = stocked(5)
    first, refused = uuid4(), uuid4()
    deliver(ReserveStock(first, {cups: 5}))
    deliver(ReserveStock(refused, {cups: 1}))
    deliver(ReleaseStock(first))
    pass_time(refused)
    published()
    deliver(ReserveStock(refused, {cups: 1}))
    assert published() == [StockRefused(refused, cups, "out_of_stock")]
    assert stock(cups) == (5, 0, 0)


def test_a_late_expiry_does_not_put_back_a_newer_hold(stocked, deliver):
    """The timer stops between its decision and its work, while the order is sold after all."""
    (cups,) = stocked(5)
    order_id = uuid4()

    class SoldMeanwhile(Stock):
        def put_back(self, *arguments, **options):
            deliver(CommitStock(order_id))
            super().put_back(*arguments, **options)

    deliver(ReserveStock(order_id, {cups: 3}))
    Reservation.objects.update(set__expires_at=mongo.now() - LEEWAY)
    reservations.expire(SoldMeanwhile())
    assert stock(cups) == (2, 0, 3)
    assert_settled({cups: 5})


def test_a_late_expiry_leaves_the_next_one_to_be_finished(stocked, deliver):
    """The timer stops before its work, while the order holds anew and another timer stops at the same place."""
    (cups,) = stocked(5)
    order_id = uuid4()

    class HeldAndExpiredMeanwhile(Stock):
        def put_back(self, *arguments, **options):
            deliver(ReserveStock(order_id, {cups: 3}))
            Reservation.objects.update(set__expires_at=mongo.now() - LEEWAY)
            (again,) = Reservation.overdue(10)
            assert again.expire()
            super().put_back(*arguments, **options)

    deliver(ReserveStock(order_id, {cups: 3}))
    Reservation.objects.update(set__expires_at=mongo.now() - LEEWAY)
    reservations.expire(HeldAndExpiredMeanwhile())
    assert stock(cups) == (2, 3, 0)
    reservations.expire()
    assert stock(cups) == (5, 0, 0)


def test_a_late_expiry_does_not_put_back_what_was_reserved_again(stocked, deliver):
    """The timer stops between its decision and its work, while the order is reserved again and held."""
    (cups,) = stocked(5)
    order_id = uuid4()

    class ReservedMeanwhile(Stock):
        def put_back(self, *arguments, **options):
            deliver(ReserveStock(order_id, {cups: 3}))
            super().put_back(*arguments, **options)

    deliver(ReserveStock(order_id, {cups: 3}))
    Reservation.objects.update(set__expires_at=mongo.now() - LEEWAY)
    reservations.expire(ReservedMeanwhile())
    assert stock(cups) == (2, 3, 0)
    deliver(CommitStock(order_id))
    assert stock(cups) == (2, 0, 3)
    assert_settled({cups: 5})


def test_a_restock_before_its_sale_is_retried(stocked, deliver):
    (cups,) = stocked(5)
    order_id = uuid4()
    assert deliver(RestockStock(order_id)) == Retry(0)
    deliver(ReserveStock(order_id, {cups: 3}))
    assert deliver(RestockStock(order_id)) == Retry(0)
    pass_time(order_id)
    assert deliver(RestockStock(order_id)) == Retry(0)


def test_refusals_and_expired_holds_are_counted(stocked, deliver):
    (cups,) = stocked(5)
    refused, ended = REFUSALS.labels("out_of_stock")._value.get(), EXPIRED_HOLDS._value.get()
    order_id = uuid4()
    deliver(ReserveStock(uuid4(), {cups: 6}))
    deliver(ReserveStock(order_id, {cups: 5}))
    pass_time(order_id)
    assert REFUSALS.labels("out_of_stock")._value.get() == refused + 1
    assert EXPIRED_HOLDS._value.get() == ended + 1
