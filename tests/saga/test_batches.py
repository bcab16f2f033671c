"""Messages and tasks that wait are handled together, with the outcome of one by one."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from chassis.messaging.consumer import PREFETCH
from chassis.messaging.envelope import Envelope
from chassis.messaging.message import Message
from chassis.messaging.relay import TASK_PREFIX
from chassis.run import worker
from chassis.run.service import Service
from chassis.storage import postgres, store
from chassis.storage.postgres_store import PostgresStore
from contracts.payments import PaymentCaptured, VoidPayment
from contracts.stock import StockCommitted, StockReserved
from services.orders.models import Event, Order
from services.payments.models import Payment
from tests.payments.books import contradictions
from tests.saga.conftest import Customer, Platform


@pytest.fixture
def leila(platform: Platform, customer: Callable[[], Customer]) -> Customer:
    registered = customer()
    platform.system.drain()
    return registered


def drain_together(platform: Platform, until_type: str = "") -> None:
    """What waits for a service is handled together. Stops before a message of `until_type`."""
    system = platform.system
    while system.collect() or system.in_flight:
        waiting: dict[tuple[str, str], list[Envelope]] = defaultdict(list)
        if until_type in {envelope.type for _, envelope in system.in_flight}:
            return
        for service, envelope in system.in_flight:
            waiting[service.name, envelope.type if envelope.type.startswith(TASK_PREFIX) else ""].append(envelope)
        system.in_flight.clear()
        for (name, task), envelopes in waiting.items():
            for start in range(0, len(envelopes), PREFETCH):
                some = envelopes[start : start + PREFETCH]
                if task:
                    run_together(platform.services[name], task, [envelope.subject for envelope in some])
                else:
                    system.deliver_together(platform.services[name], some)


def run_together(service: Service, task: str, row_ids: list[str]) -> Any:
    assert service.celery is not None
    return service.celery.app.tasks[task.removeprefix(TASK_PREFIX)].apply(args=row_ids)


def placed(platform: Platform, leila: Customer, count: int = PREFETCH) -> list[UUID]:
    product_id = platform.product(stock_quantity=PREFETCH)
    return [UUID(leila.order((product_id, 1))) for _ in range(count)]


def row(platform: Platform, order_id: UUID) -> Order:
    orders = platform.services["orders"]
    with store.active(orders.store), orders.store.transaction():
        return postgres.session().get_one(Order, order_id)


def test_sixteen_orders_are_paid_together(platform: Platform, leila: Customer) -> None:
    order_ids = placed(platform, leila)
    drain_together(platform)
    orders = [row(platform, order_id) for order_id in order_ids]
    assert {(order.status, order.captured_amount, order.due_at) for order in orders} == {("confirmed", 1250, None)}
    assert contradictions(platform.services["payments"]) == []
    assert platform.system.dead_letters == platform.system.retried == []
    mails = platform.call("notifications", "GET", f"/notifications/{leila.id}?limit=100", leila.headers)["items"]
    assert sorted(mail["subject_id"] for mail in mails if mail["kind"] == "order.confirmed") == sorted(
        map(str, order_ids)
    )


def test_a_replay_of_their_events_gives_the_same_orders(platform: Platform, leila: Customer) -> None:
    order_ids = placed(platform, leila)
    drain_together(platform)
    orders = platform.services["orders"]
    columns = [column.key for column in Order.__mapper__.column_attrs]
    with store.active(orders.store), orders.store.transaction():
        for order_id in order_ids:
            stored, again = postgres.session().get_one(Order, order_id), Order.blank(order_id)
            events = Event.stream_of(order_id)
            for each in events:
                again.apply(each.message, each.version, each.occurred_at)
            assert [each.version for each in events] == list(range(1, len(events) + 1))
            assert {key: getattr(again, key) for key in columns} == {key: getattr(stored, key) for key in columns}


def test_two_messages_about_one_order_are_handled_in_their_order(platform: Platform, leila: Customer) -> None:
    [order_id] = placed(platform, leila, 1)
    drain_together(platform, until_type=StockCommitted.type)
    order = row(platform, order_id)
    [payment_id] = [UUID(payment["id"]) for payment in leila.payments()]
    messages = [StockCommitted(order_id), PaymentCaptured(order_id, payment_id, order.total_amount, order.currency)]
    deliver(platform, "orders", messages)
    settled = row(platform, order_id)
    assert (settled.captured_amount, settled.due_at, settled.version) == (1250, None, order.version + 2)
    with store.active(platform.services["orders"].store), platform.services["orders"].store.transaction():
        assert [each.type for each in Event.stream_of(order_id)[-2:]] == [message.type for message in messages]


def deliver(platform: Platform, service: str, messages: list[Message]) -> None:
    platform.system.deliver_together(platform.services[service], [Envelope.of(message, "test") for message in messages])


@contextmanager
def counting(service: Service) -> Iterator[list[str]]:
    assert isinstance(service.store, PostgresStore)
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(service.store.engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(service.store.engine, "before_cursor_execute", note)


@pytest.mark.parametrize("service", ["orders", "payments"])
def test_sixteen_messages_take_as_many_statements_as_one(platform: Platform, leila: Customer, service: str) -> None:
    counts = []
    for size in (1, 1, PREFETCH):
        order_ids = placed(platform, leila, size)
        to_orders = [StockReserved(order_id) for order_id in order_ids]
        if service == "payments":
            deliver(platform, "orders", list(to_orders))
            platform.system.collect(platform.services["orders"])
            waiting = [each.message() for to, each in platform.system.in_flight if to.name == service]
        else:
            waiting = list(to_orders)
        platform.system.in_flight.clear()
        with counting(platform.services[service]) as statements:
            deliver(platform, service, waiting)
        counts.append(len(statements))
    # The first one may also prepare them.
    assert counts[1:] == [4, 4]


def test_an_order_that_is_not_there_harms_no_other(platform: Platform, leila: Customer) -> None:
    order_ids = placed(platform, leila, 3)
    messages = [StockReserved(order_id) for order_id in (*order_ids[:1], uuid4(), *order_ids[1:])]
    deliver(platform, "orders", list(messages))
    assert {row(platform, order_id).version for order_id in order_ids} == {4}
    assert len(platform.system.dead_letters) == 1


def test_a_task_whose_row_is_not_there_harms_no_other(platform: Platform, leila: Customer) -> None:
    placed(platform, leila, 3)
    drain_together(platform, until_type="task.payments.advance")
    payments = platform.services["payments"]
    with store.active(payments.store), payments.store.transaction():
        payment_ids = [str(payment_id) for payment_id in postgres.session().scalars(select(Payment.id))]
    assert run_together(payments, "payments.advance", [*payment_ids, str(uuid4())]).failed()
    assert {payment["status"] for payment in leila.payments()} == {"authorized"}


def test_what_was_rolled_back_is_counted_once(platform: Platform, leila: Customer) -> None:
    placed(platform, leila, 3)
    drain_together(platform, until_type="task.payments.advance")
    payments = platform.services["payments"]
    with store.active(payments.store), payments.store.transaction():
        payment_ids = [str(payment_id) for payment_id in postgres.session().scalars(select(Payment.id))]

    def counted() -> float:
        return REGISTRY.get_sample_value("souk_payments_total", {"status": "authorized"}) or 0

    commits, before = list[float](), counted()

    def fail_once(_session: Session) -> None:
        commits.append(counted())
        # The first one requests; this one records what the bank has responded.
        if len(commits) == 2:
            raise RuntimeError("lost")

    event.listen(Session, "before_commit", fail_once)
    try:
        assert run_together(payments, "payments.advance", payment_ids).successful()
    finally:
        event.remove(Session, "before_commit", fail_once)
    assert commits[:3] == [before] * 3
    assert counted() == before + 3


def test_what_a_savepoint_takes_back_is_not_counted(platform: Platform) -> None:
    called: list[str] = []
    payments = platform.services["payments"]
    with payments.store.transaction():
        postgres.after_commit(partial(called.append, "kept"))
        with suppress(RuntimeError), postgres.session().begin_nested():
            postgres.after_commit(partial(called.append, "taken back"))
            raise RuntimeError
        with postgres.session().begin_nested():
            postgres.after_commit(partial(called.append, "also kept"))
        assert called == []
    assert called == ["kept", "also kept"]
    with suppress(RuntimeError), payments.store.transaction():
        postgres.after_commit(partial(called.append, "lost"))
        raise RuntimeError
    assert len(called) == 2


def test_calls_after_a_commit_do_not_depend_on_each_other(platform: Platform) -> None:
    called: list[str] = []
    with platform.services["payments"].store.transaction():
        postgres.after_commit(partial(called.append, "first"))
        postgres.after_commit(partial(int, "nonsense"))
        postgres.after_commit(partial(called.append, "last"))
    assert called == ["first", "last"]


def test_batches_about_the_same_orders_do_not_deadlock(platform: Platform, leila: Customer) -> None:
    order_ids = placed(platform, leila)
    service, errors = platform.services["orders"], list[Exception]()

    def handle(ids: list[UUID]) -> None:
        try:
            envelopes = [Envelope.of(StockReserved(order_id), "test") for order_id in ids]
            worker.handle(service, envelopes, [None] * len(ids))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=handle, args=[ids]) for ids in (order_ids, order_ids[::-1]) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert {row(platform, order_id).version for order_id in order_ids} == {4}


def test_a_void_that_comes_with_its_authorization_is_final(platform: Platform, leila: Customer) -> None:
    order_ids = placed(platform, leila, 2)
    deliver(platform, "orders", [StockReserved(order_id) for order_id in order_ids])
    platform.system.collect(platform.services["orders"])
    authorizations = [each.message() for to, each in platform.system.in_flight if to.name == "payments"]
    platform.system.in_flight.clear()
    voids: list[Message] = [VoidPayment(order_id) for order_id in order_ids]
    deliver(platform, "payments", [authorizations[0], voids[0], voids[1], authorizations[1]])
    platform.system.drain()
    assert {payment["status"] for payment in leila.payments()} == {"voided"}


def test_mails_of_one_message_are_sent_although_one_row_is_not_there(platform: Platform, leila: Customer) -> None:
    placed(platform, leila, 3)
    drain_together(platform, until_type="task.notifications.deliver")
    mails = [each.subject for _, each in platform.system.in_flight if each.type == "task.notifications.deliver"]
    assert run_together(platform.services["notifications"], "notifications.deliver", [*mails, str(uuid4())]).failed()
    sent = platform.call("notifications", "GET", f"/notifications/{leila.id}", leila.headers)["items"]
    assert [mail["status"] for mail in sent if mail["kind"] == "order.confirmed"] == ["sent"] * 3
