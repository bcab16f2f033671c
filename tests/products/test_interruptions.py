"""A handler may stop anywhere, for good or for a while, while others run: the stock balances.

`Interrupted` is the real stock, which lets something else happen at one point between its moves.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chassis.base.clock import LEEWAY
from chassis.base.problems import Problem
from chassis.messaging.message import Message
from chassis.storage import mongo
from contracts.stock import CommitStock, ReleaseStock, ReserveStock, RestockStock, StockCommitted, StockReserved
from services.products import reservations
from services.products.models import Reservation, Stock, ledger
from services.products.models.reservation import Overtaken, TooEarly
from tests.products.conftest import assert_nothing_lost, assert_settled, stock

POINTS = 8
"""More than any handler passes in these tests."""


class Crashed(Exception):
    """The process ends here."""


@dataclass
class Interrupted(Stock):
    """`meanwhile` happens once, at point `at`: each move has one before and one after it, counted from 0."""

    at: int
    meanwhile: Callable[[], None]
    passed: int = 0

    def hold(self, *arguments: Any) -> str | None:
        return self._move(super().hold, *arguments)

    def sell(self, *arguments: Any) -> None:
        self._move(super().sell, *arguments)

    def put_back(self, *arguments: Any, **options: Any) -> None:
        self._move(super().put_back, *arguments, **options)

    def restock(self, *arguments: Any) -> None:
        self._move(super().restock, *arguments)

    def _move(self, move: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        self._point()
        result = move(*arguments, **options)
        self._point()
        return result

    def _point(self) -> None:
        self.passed += 1
        if self.passed == self.at + 1:
            self.meanwhile()


def crash() -> None:
    raise Crashed


def handle(message: Message, stock: Stock) -> None:
    match message:
        case ReserveStock(order_id, quantities):
            reservations.reserve(order_id, quantities, stock)
        case CommitStock(order_id):
            reservations.commit(order_id, stock)
        case ReleaseStock(order_id):
            reservations.release(order_id, stock)
        case RestockStock(order_id):
            reservations.restock(order_id, stock)


def expire(order_id: UUID, stock: Stock) -> None:
    """Time passes, and the worker's timer finds the hold too old."""
    Reservation.objects(order_id=str(order_id), expires_at__exists=True).update_one(
        set__expires_at=mongo.now() - LEEWAY
    )
    reservations.expire(stock)


@pytest.mark.parametrize("at", range(POINTS))
@pytest.mark.parametrize(
    ("before", "last", "ends"),
    [
        ([], "reserve", [(4, 1, 0), (3, 2, 0), (2, 3, 0)]),
        ([], "reserve too many", [(5, 0, 0), (5, 0, 0), (5, 0, 0)]),
        (["reserve"], "commit", [(4, 0, 1), (3, 0, 2), (2, 0, 3)]),
        (["reserve"], "release", [(5, 0, 0), (5, 0, 0), (5, 0, 0)]),
        (["reserve", "expire"], "commit", [(4, 0, 1), (3, 0, 2), (2, 0, 3)]),
        (["reserve", "commit"], "restock", [(5, 0, 0), (5, 0, 0), (5, 0, 0)]),
    ],
)
def test_a_crash_is_repaired_by_redelivery(stocked, at, before, last, ends):
    products = stocked(5, 5, 5)
    received = dict.fromkeys(products, 5)
    order_id = uuid4()
    messages = {
        "reserve": ReserveStock(order_id, dict(zip(products, (1, 2, 3), strict=True))),
        "reserve too many": ReserveStock(order_id, dict(zip(products, (1, 2, 6), strict=True))),
        "commit": CommitStock(order_id),
        "release": ReleaseStock(order_id),
        "restock": RestockStock(order_id),
    }
    for name in before:
        if name == "expire":
            expire(order_id, Stock())
        else:
            handle(messages[name], Stock())
    for again in range(3):
        try:
            handle(messages[last], Interrupted(at + again, crash))
        except Crashed:
            assert_nothing_lost(received)
    handle(messages[last], Stock())
    assert [stock(product) for product in products] == ends
    assert_settled(received)


@pytest.mark.parametrize("at", range(4))
def test_an_order_restocked_before_its_interrupted_sale_is_repeated_is_sold_and_restocked(stocked, at):
    products = stocked(5, 5)
    order_id = uuid4()
    handle(ReserveStock(order_id, dict.fromkeys(products, 2)), Stock())
    with pytest.raises(Crashed):
        handle(CommitStock(order_id), Interrupted(at, crash))
    handle(RestockStock(order_id), Stock())
    assert [stock(product) for product in products] == [(5, 0, 0), (5, 0, 0)]


def test_a_commit_during_the_reservation_is_retried(stocked):
    products = stocked(5, 5)
    order_id = uuid4()

    def commit_early() -> None:
        with pytest.raises(TooEarly):
            handle(CommitStock(order_id), Stock())

    handle(ReserveStock(order_id, dict.fromkeys(products, 2)), Interrupted(1, commit_early))
    assert [stock(product) for product in products] == [(3, 2, 0), (3, 2, 0)]


@pytest.mark.parametrize("at", range(4))
def test_a_paused_delivery_does_not_hold_again_what_another_sold(stocked, at):
    products = stocked(5, 5)
    order_id = uuid4()
    command = ReserveStock(order_id, dict.fromkeys(products, 2))

    def sold_by_another() -> None:
        handle(command, Stock())
        handle(CommitStock(order_id), Stock())

    handle(command, Interrupted(at, sold_by_another))
    assert [stock(product) for product in products] == [(3, 0, 2), (3, 0, 2)]


@pytest.mark.parametrize("at", range(4))
def test_a_paused_sale_of_an_expired_hold_does_not_sell_again_what_another_sold(stocked, at):
    products = stocked(5, 5)
    order_id = uuid4()
    handle(ReserveStock(order_id, dict.fromkeys(products, 2)), Stock())
    expire(order_id, Stock())
    handle(CommitStock(order_id), Interrupted(at, lambda: handle(CommitStock(order_id), Stock())))
    assert [stock(product) for product in products] == [(3, 0, 2), (3, 0, 2)]


@pytest.mark.parametrize("at", range(4))
def test_a_paused_delivery_leaves_nothing_held_for_an_order_released_meanwhile(stocked, at):
    products = stocked(5, 5)
    order_id = uuid4()
    command = ReserveStock(order_id, dict.fromkeys(products, 2))
    handle(command, Interrupted(at, lambda: handle(ReleaseStock(order_id), Stock())))
    assert [stock(product) for product in products] == [(5, 0, 0), (5, 0, 0)]


@pytest.mark.parametrize("dies", range(3))
@pytest.mark.parametrize("at", range(4))
def test_an_overtaken_delivery_promises_nothing(stocked, published, at, dies):
    products = stocked(5, 5)
    order_id = uuid4()
    command = ReserveStock(order_id, dict.fromkeys(products, 2))

    def overtake_and_die() -> None:
        with pytest.raises(Crashed):
            handle(command, Interrupted(dies, crash))

    handle(command, Interrupted(at, overtake_and_die))
    assert published() == []
    handle(command, Stock())
    handle(CommitStock(order_id), Stock())
    assert published() == [StockReserved(order_id), StockCommitted(order_id)]
    assert [stock(product) for product in products] == [(3, 0, 2), (3, 0, 2)]


@dataclass(frozen=True)
class Delivery:
    """One message to an order, stopped at a move, for a while in which `meanwhile` is handled, or for good."""

    kind: str
    order: int
    at: int
    dies: bool
    meanwhile: tuple["Delivery", ...] = field(default=())


ORDERS = [(1, 1), (2, 0), (1, 2)]
"""Units that each order wants of two products, of which there are two each: not every order can be served."""


def deliveries(depth: int) -> st.SearchStrategy[Delivery]:
    inner = st.lists(deliveries(depth - 1), max_size=2).map(tuple) if depth else st.just(())
    return st.builds(
        Delivery,
        kind=st.sampled_from(["reserve", "reserve", "commit", "commit", "release", "restock", "expire", "post"]),
        order=st.integers(0, len(ORDERS) - 1),
        at=st.integers(0, POINTS),
        dies=st.booleans(),
        meanwhile=inner,
    )


@dataclass
class Shop:
    """Delivers, and keeps what must be redelivered, as the broker does."""

    products: list[UUID]
    orders: list[UUID] = field(default_factory=lambda: [uuid4() for _ in ORDERS])
    again: list[Message] = field(default_factory=list)

    def deliver(self, delivery: Delivery) -> None:
        stock = Interrupted(delivery.at, lambda: self.interrupt(delivery))
        message = self.message(delivery)
        try:
            if message is not None:
                handle(message, stock)
            elif delivery.kind == "expire":
                expire(self.orders[delivery.order], stock)
            else:
                ledger.post()
        except Problem:
            """No retry would help: it becomes a dead letter."""
        except (Crashed, Overtaken, TooEarly):
            self.again += [message] if message is not None else []
        assert_nothing_lost(dict.fromkeys(self.products, 2))

    def interrupt(self, delivery: Delivery) -> None:
        for other in delivery.meanwhile:
            self.deliver(other)
        if delivery.dies:
            raise Crashed

    def message(self, delivery: Delivery) -> Message | None:
        """None for what the worker's timers do."""
        order_id = self.orders[delivery.order]
        wanted = zip(self.products, ORDERS[delivery.order], strict=True)
        if delivery.kind == "reserve":
            return ReserveStock(order_id, {product: quantity for product, quantity in wanted if quantity})
        commands: dict[str, type[Message]] = {"commit": CommitStock, "release": ReleaseStock, "restock": RestockStock}
        return commands[delivery.kind](order_id) if delivery.kind in commands else None

    def finish(self) -> None:
        """Redeliver everything, except commits and restocks of what was never reserved."""
        for message in self.again:
            with suppress(Problem, TooEarly):
                handle(message, Stock())
        reservations.expire()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=st.lists(deliveries(2), min_size=1, max_size=6))
def test_the_stock_balances_however_deliveries_are_repeated_reordered_stopped_and_interleaved(stocked, script):
    shop = Shop(stocked(2, 2))
    for delivery in script:
        shop.deliver(delivery)
    shop.finish()
    assert_settled(dict.fromkeys(shop.products, 2))
