"""Generated scenarios: messages arrive twice, late and in any order, while people cancel, refund and ship, holds expire and
replies are late. All services run with their real handlers and stores.

Short scenarios come first, and each begins with empty databases, so that a failing one soon shrinks to a few lines.
`SOUK_SCENARIOS=500` runs more of them, and different ones each time.
"""

import os
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
import urllib3
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from sqlalchemy import select

from chassis.base import clock
from chassis.base.clock import LEEWAY
from chassis.messaging.consumer import PREFETCH
from chassis.messaging.relay import TASK_PREFIX
from chassis.storage import mongo, postgres, store
from services.orders import deadlines
from services.orders.models import Event, Order
from services.orders.models.steps import MAX_WAIT
from services.payments.models import Payment
from services.payments.models.ledger import sums
from services.products import audit
from services.products import reservations as stock
from services.products.models import Reservation
from services.products.models.reservation import COMMITTED
from tests.conftest import empty
from tests.payments.books import contradictions
from tests.saga.conftest import Customer, Platform

SCENARIOS = int(os.environ.get("SOUK_SCENARIOS", "0"))
LENGTHS = {4: 0.6, 10: 0.3, 30: 0.1}
"""The maximum number of steps in a scenario, and the share of scenarios with that length."""

PRICE = 1250
UNITS = 4
STANDING = {"confirmed", "shipped", "delivered"}
MAX_ROUNDS = 60

some = st.integers(min_value=0, max_value=40)
"""An index, taken modulo what there is, so that scenarios shrink to small numbers."""


class Scenario(RuleBasedStateMachine):
    def __init__(self, platform: Platform, customer: Customer, bank: str) -> None:
        super().__init__()
        self.platform, self.customer, self.bank = platform, customer, bank
        self.system = platform.system
        self.system.dead_letters.clear()
        self.system.in_flight.clear()
        for name in ("orders", "products", "payments"):
            empty(platform.services[name])
        # New tokens: many scenarios last longer than one token.
        self.staff = platform.bearer(UUID(int=1), "staff")
        self.customer.headers = platform.bearer(customer.id)
        self.kettle = platform.product(stock_quantity=UNITS, price="12.50")
        self.orders: list[UUID] = []
        self.cards: dict[UUID, str] = {}

    @precondition(lambda self: len(self.orders) < 3)
    @rule(
        quantity=st.integers(1, 3),
        card=st.sampled_from(
            ["tok_success", "tok_success", "tok_declined_expired_card", "tok_capture_refused", "tok_refund_refused"]
        ),
        hops=st.integers(0, 7),
    )
    def place_an_order(self, quantity: int, card: str, hops: int) -> None:
        """And deliver so many rounds of messages without trouble; seven make a paid order."""
        id_ = UUID(self.customer.order((self.kettle, quantity), payment_method=card))
        self.orders.append(id_)
        self.cards[id_] = card
        self._collect_orders()
        for _ in range(hops):
            self.deliver_all_messages()

    @precondition(lambda self: self.system.in_flight)
    @rule(which=some)
    def deliver_a_message(self, which: int) -> None:
        index = which % len(self.system.in_flight)
        service, envelope = self.system.in_flight[index]
        del self.system.in_flight[index]
        self._deliver(service, envelope)

    @precondition(lambda self: self.system.in_flight)
    @rule(which=some)
    def deliver_a_message_that_comes_again(self, which: int) -> None:
        self._deliver(*self.system.in_flight[which % len(self.system.in_flight)])

    @precondition(lambda self: self.system.in_flight)
    @rule()
    def deliver_all_messages(self) -> None:
        for _ in range(len(self.system.in_flight)):
            self._deliver(*self.system.in_flight.popleft())

    @precondition(lambda self: self.system.in_flight)
    @rule(which=some, again=st.booleans())
    def deliver_messages_together(self, which: int, again: bool) -> None:
        """All that wait for a service, in one transaction; perhaps each of them twice."""
        service, _ = self.system.in_flight[which % len(self.system.in_flight)]
        waiting = [
            each for to, each in self.system.in_flight if to is service and not each.type.startswith(TASK_PREFIX)
        ]
        together = (waiting * 2 if again else waiting)[:PREFETCH]
        for envelope in {id(each): each for each in together}.values():
            self.system.in_flight.remove((service, envelope))
        self.system.deliver_together(service, together)
        self._after(service)

    @precondition(lambda self: self.orders)
    @rule(which=some)
    def cancel_as_customer(self, which: int) -> None:
        self._try("DELETE", f"/orders/{self._one(which)}", self.customer.headers)

    @precondition(lambda self: self.orders)
    @rule(which=some, amount=st.sampled_from([None, "0.01", "12.50"]))
    def refund_as_staff(self, which: int, amount: str | None) -> None:
        self._try("POST", f"/orders/{self._one(which)}/refunds", self.staff, {"amount": amount})

    @precondition(lambda self: self.orders)
    @rule(which=some)
    def ship_as_staff(self, which: int) -> None:
        self._try("PUT", f"/orders/{self._one(which)}/status", self.staff, {"status": "shipped"})

    @precondition(lambda self: self.orders)
    @rule()
    def miss_a_deadline(self) -> None:
        self._watch()

    @precondition(lambda self: self.orders)
    @rule(which=some)
    def expire_a_hold(self, which: int) -> None:
        held = Reservation.objects(order_id=str(self._one(which)), expires_at__exists=True)
        held.update_one(set__expires_at=mongo.now() - LEEWAY)
        with store.active(self.platform.services["products"].store):
            stock.expire()

    def _check_refunds(self) -> None:
        # Not an @invariant, which would be printed between any two steps of a failing scenario.
        for order in self._rows():
            assert order.refundable >= 0, order.id
            assert order.refunded_amount <= order.captured_amount <= order.total_amount, order.id

    def teardown(self) -> None:
        self._end()
        assert self.system.dead_letters == []
        assert audit.audit(timeout_seconds=0).differences == []
        assert contradictions(self.platform.services["payments"]) == []
        for order in self._rows():
            self._check(order)
            self._check_replay(order)

    def _check(self, order: Order) -> None:
        assert order.status != "pending"
        stands = order.status in STANDING or order.shipped_at is not None
        reservation = Reservation.objects(order_id=str(order.id)).first()
        assert (reservation is not None and reservation.state == COMMITTED) == stands, (order.status, reservation)
        kept = self._kept(order.id)
        assert kept == order.captured_amount - order.refunded_amount
        if order.is_called_off and self.cards[order.id] == "tok_refund_refused":
            assert (kept > 0) == (order.stuck_at is not None), "a refused refund is stuck"
        else:
            assert order.stuck_at is None, order.stuck_reason
            assert order.is_settled
            assert not (order.is_called_off and kept)
        assert self._count_mails(order.id, "order.confirmed") <= 1
        assert self._count_mails(order.id, "order.cancelled") <= 1

    def _check_replay(self, order: Order) -> None:
        orders = self.platform.services["orders"]
        with store.active(orders.store), orders.store.transaction():
            again = Order.blank(order.id)
            for event in Event.stream_of(order.id):
                again.apply(event.message, event.version, event.occurred_at)
        columns = [column.key for column in Order.__mapper__.column_attrs]
        assert {key: getattr(again, key) for key in columns} == {key: getattr(order, key) for key in columns}

    def _one(self, which: int) -> UUID:
        return self.orders[which % len(self.orders)]

    def _try(self, method: str, path: str, caller: dict[str, str], body: Any = None) -> None:
        """A request that the order's status may forbid."""
        status = self.platform.request("orders", method, path, caller, body).status_code
        assert status in (200, 201, 204, 409), status
        self._collect_orders()

    def _collect_orders(self) -> None:
        self.system.collect(self.platform.services["orders"])
        self._check_refunds()

    def _deliver(self, service: Any, envelope: Any) -> None:
        try:
            self.system.deliver(service, envelope)
        except Exception:  # Celery retries a task later.
            self.system.in_flight.append((service, envelope))
        self._after(service)

    def _after(self, service: Any) -> None:
        for name, again in self.system.retried:
            self.system.in_flight.append((self.platform.services[name], again))
        self.system.retried.clear()
        self.system.collect(service)
        if service.name == "orders":
            self._check_refunds()

    def _watch(self) -> None:
        orders = self.platform.services["orders"]
        with store.active(orders.store), orders.store.transaction():
            due = [order.due_at for order in self._mine() if order.due_at]
            deadlines.watch(max(due, default=clock.now()) + MAX_WAIT, seconds=60)
        self._collect_orders()

    def _end(self) -> None:
        """Deliver everything, until every command has its reply."""
        for _ in range(MAX_ROUNDS):
            for _ in range(len(self.system.in_flight)):
                self._deliver(*self.system.in_flight.popleft())
            if not self.system.in_flight:
                if all(order.due_at is None for order in self._rows()):
                    return
                self._watch()
        raise AssertionError(f"still in flight: {[envelope.type for _, envelope in self.system.in_flight]}")

    def _rows(self) -> list[Order]:
        orders = self.platform.services["orders"]
        with store.active(orders.store), orders.store.transaction():
            return self._mine()

    def _mine(self) -> list[Order]:
        return list(postgres.session().scalars(select(Order).where(Order.id.in_(self.orders))))

    def _kept(self, order_id: UUID) -> int:
        """What the ledger says is captured and not refunded, in minor units. The bank has charged it at most once."""
        payments = self.platform.services["payments"]
        with store.active(payments.store), payments.store.transaction():
            payment = postgres.session().scalars(select(Payment).where(Payment.order_id == order_id)).one_or_none()
            if payment is None:
                return 0
            booked = sums([payment.id])[payment.id]
        key = {"Authorization": "Bearer sandbox-key"}
        charges = urllib3.request("GET", f"{self.bank}/charges?reference={payment.id}", headers=key).json()["items"]
        assert len(charges) <= 1
        assert booked.held == booked.refunding == 0
        return booked.captured - booked.refunded

    def _count_mails(self, order_id: UUID, kind: str) -> int:
        mails = self.platform.call("notifications", "GET", f"/notifications/{self.customer.id}", self.customer.headers)
        return sum((mail["subject_id"], mail["kind"]) == (str(order_id), kind) for mail in mails["items"])


@pytest.mark.timeout(14_400 if SCENARIOS else 600)
@pytest.mark.parametrize("length", LENGTHS)
def test_every_scenario_ends_consistently(
    platform: Platform, customer: Callable[[], Customer], bank_address: str, length: int
) -> None:
    leila = customer()
    platform.system.drain()
    run_state_machine_as_test(
        lambda: Scenario(platform, leila, bank_address),
        settings=settings(
            max_examples=round((SCENARIOS or 20) * LENGTHS[length]),
            stateful_step_count=length,
            derandomize=not SCENARIOS,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
