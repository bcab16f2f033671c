"""Any story that can happen to orders ends well: messages arrive twice, late and in any order, while people cancel, refund and
ship, holds expire and nobody answers in time. The handlers are the real ones of all services, on their real stores.

Short stories are told first, and each begins with empty databases: one that ends badly is then soon shrunk to a few lines.
`SOUK_SCENARIOS=500` tells more of them, and others each time.
"""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import urllib3
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from sqlalchemy import select

from chassis.base import clock
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
"""How much happens at most in a story, and the share of all stories that are so long: about as much happens in each."""

PRICE = 1250
PIECES = 4
STANDING = {"confirmed", "shipped", "delivered"}
MANY_ROUNDS = 60

some = st.integers(min_value=0, max_value=40)
"""Which one of what there is: counted round, so that a short story has small numbers."""


class Story(RuleBasedStateMachine):
    def __init__(self, platform: Platform, customer: Customer, bank: str) -> None:
        super().__init__()
        self.platform, self.customer, self.bank = platform, customer, bank
        self.system = platform.system
        self.system.dead_letters.clear()
        self.system.in_flight.clear()
        for name in ("orders", "products", "payments"):
            empty(platform.services[name])
        # Tokens of their own: many stories last longer than one token does.
        self.staff = platform.someone(UUID(int=1), "staff")
        self.customer.headers = platform.someone(customer.id)
        self.kettle = platform.product(stock_quantity=PIECES, price="12.50")
        self.orders: list[UUID] = []
        self.cards: dict[UUID, str] = {}

    # --- what happens

    @precondition(lambda self: len(self.orders) < 3)
    @rule(
        pieces=st.integers(1, 3),
        card=st.sampled_from(
            ["tok_success", "tok_success", "tok_declined_expired_card", "tok_capture_refused", "tok_refund_refused"]
        ),
        hops=st.integers(0, 7),
    )
    def somebody_orders(self, pieces: int, card: str, hops: int) -> None:
        """After so many hops without trouble, seven being a paid order, the story goes on."""
        id_ = UUID(self.customer.order((self.kettle, pieces), payment_method=card))
        self.orders.append(id_)
        self.cards[id_] = card
        self._collect_orders()
        for _ in range(hops):
            self.all_that_is_on_its_way_arrives()

    @precondition(lambda self: self.system.in_flight)
    @rule(which=some)
    def a_message_arrives(self, which: int) -> None:
        index = which % len(self.system.in_flight)
        service, envelope = self.system.in_flight[index]
        del self.system.in_flight[index]
        self._deliver(service, envelope)

    @precondition(lambda self: self.system.in_flight)
    @rule(which=some)
    def a_message_arrives_and_will_again(self, which: int) -> None:
        self._deliver(*self.system.in_flight[which % len(self.system.in_flight)])

    @precondition(lambda self: self.system.in_flight)
    @rule()
    def all_that_is_on_its_way_arrives(self) -> None:
        for _ in range(len(self.system.in_flight)):
            self._deliver(*self.system.in_flight.popleft())

    @precondition(lambda self: self.orders)
    @rule(which=some)
    def the_customer_cancels(self, which: int) -> None:
        self._try("DELETE", f"/orders/{self._one(which)}", self.customer.headers)

    @precondition(lambda self: self.orders)
    @rule(which=some, amount=st.sampled_from([None, "0.01", "12.50"]))
    def staff_refunds(self, which: int, amount: str | None) -> None:
        self._try("POST", f"/orders/{self._one(which)}/refunds", self.staff, {"amount": amount})

    @precondition(lambda self: self.orders)
    @rule(which=some)
    def staff_ships(self, which: int) -> None:
        self._try("PUT", f"/orders/{self._one(which)}/status", self.staff, {"status": "shipped"})

    @precondition(lambda self: self.orders)
    @rule()
    def nobody_answers_in_time(self) -> None:
        self._watch()

    @precondition(lambda self: self.orders)
    @rule(which=some)
    def a_hold_expires(self, which: int) -> None:
        held = Reservation.objects(order_id=str(self._one(which)), expires_at__exists=True)
        held.update_one(set__expires_at=mongo.now() - timedelta(seconds=1))
        with store.active(self.platform.services["products"].store):
            stock.expire()

    # --- what is always so, and what is so in the end

    def _no_more_goes_back_than_came(self) -> None:
        # No @invariant: it would be told between any two lines of a story that ends badly.
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
            self._check_that_it_is_what_its_events_say(order)

    def _check(self, order: Order) -> None:
        assert order.status != "pending"
        stands = order.status in STANDING or order.shipped_at is not None
        reservation = Reservation.objects(order_id=str(order.id)).first()
        assert (reservation is not None and reservation.state == COMMITTED) == stands, (order.status, reservation)
        kept = self._kept(order.id)
        assert kept == order.captured_amount - order.refunded_amount
        if order.is_called_off and self.cards[order.id] == "tok_refund_refused":
            assert (kept > 0) == (order.stuck_at is not None), "what cannot be given back is seen"
        else:
            assert order.stuck_at is None, order.stuck_reason
            assert order.is_settled
            assert not (order.is_called_off and kept)
        assert self._told(order.id, "order.confirmed") <= 1
        assert self._told(order.id, "order.cancelled") <= 1

    def _check_that_it_is_what_its_events_say(self, order: Order) -> None:
        orders = self.platform.services["orders"]
        with store.active(orders.store), orders.store.transaction():
            again = Order.blank(order.id)
            for event in Event.stream_of(order.id):
                again.apply(event.message, event.version, event.occurred_at)
        columns = [column.key for column in Order.__mapper__.column_attrs]
        assert {key: getattr(again, key) for key in columns} == {key: getattr(order, key) for key in columns}

    # --- how

    def _one(self, which: int) -> UUID:
        return self.orders[which % len(self.orders)]

    def _try(self, method: str, path: str, who: dict[str, str], body: Any = None) -> None:
        """What a person asks for, and may be refused as it is out of turn."""
        status = self.platform.ask("orders", method, path, who, body).status_code
        assert status in (200, 201, 204, 409), status
        self._collect_orders()

    def _collect_orders(self) -> None:
        self.system.collect(self.platform.services["orders"])
        self._no_more_goes_back_than_came()

    def _deliver(self, service: Any, envelope: Any) -> None:
        try:
            self.system.deliver(service, envelope)
        except Exception:  # Celery tries a task again later.
            self.system.in_flight.append((service, envelope))
        for name, again in self.system.retried:
            self.system.in_flight.append((self.platform.services[name], again))
        self.system.retried.clear()
        self.system.collect(service)
        if service.name == "orders":
            self._no_more_goes_back_than_came()

    def _watch(self) -> None:
        orders = self.platform.services["orders"]
        with store.active(orders.store), orders.store.transaction():
            due = [order.due_at for order in self._mine() if order.due_at]
            deadlines.watch(max(due, default=clock.now()) + MAX_WAIT, seconds=60)
        self._collect_orders()

    def _end(self) -> None:
        """Everything arrives, and whatever is asked again is answered."""
        for _ in range(MANY_ROUNDS):
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
        """What is ours of the order by the books, in minor units; and the bank has charged it once at most."""
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

    def _told(self, order_id: UUID, kind: str) -> int:
        mails = self.platform.call("notifications", "GET", f"/notifications/{self.customer.id}", self.customer.headers)
        return sum((mail["subject_id"], mail["kind"]) == (str(order_id), kind) for mail in mails["items"])


@pytest.mark.timeout(14_400 if SCENARIOS else 600)
@pytest.mark.parametrize("length", LENGTHS)
def test_every_story_ends_well(
    platform: Platform, customer: Callable[[], Customer], bank_address: str, length: int
) -> None:
    leila = customer()
    platform.system.drain()
    run_state_machine_as_test(
        lambda: Story(platform, leila, bank_address),
        settings=settings(
            max_examples=round((SCENARIOS or 20) * LENGTHS[length]),
            stateful_step_count=length,
            deadline=None,
            derandomize=not SCENARIOS,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
