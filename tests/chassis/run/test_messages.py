"""Messages leave with their transaction, are handled once, and are kept when they cannot be handled."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from structlog import get_logger

from chassis.base import telemetry, tracing
from chassis.base.problems import Conflict
from chassis.base.settings import Settings
from chassis.messaging import relay as relay_module
from chassis.messaging.consumer import DeadLetter, Retry
from chassis.messaging.envelope import Envelope
from chassis.messaging.handlers import Handlers
from chassis.messaging.message import REGISTRY as MESSAGES
from chassis.messaging.message import UnknownType
from chassis.messaging.relay import Relay
from chassis.run import worker
from chassis.run.service import Service, Timer
from chassis.run.testing import System
from chassis.storage import outbox, postgres
from chassis.storage.postgres_store import PostgresStore
from contracts.orders import Line, OrderConfirmed
from contracts.stock import ReserveStock
from contracts.users import UserDeleted
from tests.broker import sending_each
from tests.chassis.support import chassis_service
from tests.installation import until

handlers = Handlers("counting")
handled: list[UUID] = []


@handlers.on(UserDeleted)
def count(event: UserDeleted) -> None:
    handled.append(event.user_id)
    postgres.session().execute(text("INSERT INTO counted VALUES (:id)"), {"id": event.user_id})
    if event.user_id == IMPOSSIBLE:
        raise Conflict("This will never be possible.")
    if event.user_id == FAILS_ONCE and handled.count(FAILS_ONCE) == 1:
        raise ConnectionError("not now")


IMPOSSIBLE, FAILS_ONCE = UUID(int=1), UUID(int=2)


@pytest.fixture(scope="module")
def _counting(make_database: Callable[[str], str]) -> Service:
    return chassis_service("counting", make_database, {}, "CREATE TABLE counted (id uuid)", handlers=handlers)


@pytest.fixture
def counting(_counting: Service) -> Iterator[Service]:
    handled.clear()
    yield _counting
    with engine(_counting).begin() as connection:
        connection.execute(text("TRUNCATE counted, outbox, inbox, idempotency"))


def engine(service: Service) -> postgres.Engine:
    assert isinstance(service.store, PostgresStore)
    return service.store.engine


def counted(service: Service) -> int:
    with engine(service).connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM counted")).scalar_one())


def envelope(message: UserDeleted) -> Envelope:
    return Envelope.of(message, "test")


def test_an_emitted_message_reaches_its_handler_once(counting: Service) -> None:
    with counting.store.transaction():
        outbox.emit(UserDeleted(uuid4()))
    system = System([counting])
    system.drain()
    system.drain()
    assert (len(system.sent), counted(counting)) == (1, 1)


def test_a_message_delivered_twice_is_handled_once(counting: Service) -> None:
    system = System([counting])
    message = envelope(UserDeleted(uuid4()))
    system.deliver(counting, message)
    system.deliver(counting, message)
    assert counted(counting) == 1


def test_two_deliveries_at_the_same_time_are_one(counting: Service) -> None:
    message = envelope(UserDeleted(uuid4()))
    both = [threading.Thread(target=worker.handle, args=[counting, [message], [None]]) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert counted(counting) == 1


def test_a_failed_handler_leaves_nothing_and_is_retried(counting: Service) -> None:
    system = System([counting])
    system.deliver(counting, envelope(UserDeleted(FAILS_ONCE)))
    assert (counted(counting), len(system.retried)) == (0, 1)
    system.redrain()
    assert (counted(counting), system.retried) == (1, [])


def test_messages_that_wait_are_handled_together_in_their_order(counting: Service) -> None:
    messages = [UserDeleted(uuid4()) for _ in range(16)]
    System([counting]).deliver_together(counting, [envelope(message) for message in messages])
    assert handled == [message.user_id for message in messages]
    with engine(counting).connect() as connection:
        transactions = connection.execute(text("SELECT DISTINCT xmin::text FROM counted")).all()
    assert (counted(counting), len(transactions)) == (16, 1)


@pytest.mark.parametrize("poison", [IMPOSSIBLE, FAILS_ONCE])
def test_a_message_that_fails_harms_none_that_were_delivered_with_it(counting: Service, poison: UUID) -> None:
    system = System([counting])
    messages = [envelope(UserDeleted(uuid4())) for _ in range(15)]
    poisoned = envelope(UserDeleted(poison))
    system.deliver_together(counting, [*messages[:7], poisoned, *messages[7:]])
    # What failed once succeeds when it is tried again, alone.
    assert counted(counting) == (15 if poison == IMPOSSIBLE else 16)
    assert [each for _, each, _ in system.dead_letters] == ([poisoned] if poison == IMPOSSIBLE else [])


def test_what_is_not_a_message_harms_none_that_were_delivered_with_it(counting: Service) -> None:
    system = System([counting])
    unreadable = replace(envelope(UserDeleted(uuid4())), data={"user_id": "unknown"})
    unknown = replace(envelope(UserDeleted(uuid4())), type="no.such.message")
    system.deliver_together(counting, [unreadable, envelope(UserDeleted(uuid4())), unknown])
    assert (counted(counting), len(system.dead_letters), len(system.retried)) == (1, 1, 1)


def test_a_message_delivered_twice_together_is_handled_once(counting: Service) -> None:
    message, other = envelope(UserDeleted(uuid4())), envelope(UserDeleted(uuid4()))
    system = System([counting])
    system.deliver_together(counting, [message, other, message])
    system.deliver_together(counting, [other, message])
    assert counted(counting) == 2


def test_deliveries_of_the_same_messages_in_other_orders_do_not_deadlock(counting: Service) -> None:
    messages = [envelope(UserDeleted(uuid4())) for _ in range(16)]
    outcomes: list[list[bool]] = []

    def deliver(some: list[Envelope]) -> None:
        outcomes.append(worker.handle(counting, some, [None] * len(some)))

    both = [threading.Thread(target=deliver, args=[some]) for some in (messages, messages[::-1])]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert counted(counting) == 16
    assert sorted(map(sum, outcomes)) == [0, 16]


def test_a_problem_in_a_handler_makes_the_message_a_dead_letter(counting: Service) -> None:
    system = System([counting])
    system.deliver(counting, envelope(UserDeleted(IMPOSSIBLE)))
    assert counted(counting) == 0
    assert "never be possible" in system.dead_letters[0][2]


def test_a_message_is_retried_after_each_of_the_delays(counting: Service) -> None:
    body = envelope(UserDeleted(FAILS_ONCE)).to_json()
    for attempt in range(len(worker.DELAYS_MILLISECONDS)):
        handled.clear()
        assert worker.receive(counting, body, {worker.ATTEMPT_HEADER: attempt}) == Retry(attempt)


def test_a_message_that_failed_too_often_is_a_dead_letter(counting: Service) -> None:
    body = envelope(UserDeleted(FAILS_ONCE)).to_json()
    last = {worker.ATTEMPT_HEADER: len(worker.DELAYS_MILLISECONDS)}
    assert isinstance(worker.receive(counting, body, last), DeadLetter)


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b"{}",
        json.dumps({"id": "x"}).encode(),
        replace(envelope(UserDeleted(uuid4())), data={"user_id": "unknown"}).to_json(),
    ],
)
def test_what_is_not_a_message_is_a_dead_letter(counting: Service, body: bytes) -> None:
    assert isinstance(worker.receive(counting, body, {}), DeadLetter)


def test_what_the_broker_did_not_confirm_is_sent_again(counting: Service) -> None:
    with counting.store.transaction():
        outbox.emit(UserDeleted(uuid4()))
        outbox.emit(UserDeleted(uuid4()))
    sent: list[Envelope] = []

    def second_is_lost(message: Envelope) -> None:
        if len(sent) == 1:
            raise ConnectionError("broker unavailable")
        sent.append(message)

    with pytest.raises(ConnectionError):
        Relay(counting.store.source, sending_each(second_is_lost)).send_batch()
    assert Relay(counting.store.source, sending_each(sent.append)).send_batch() == 1
    assert Relay(counting.store.source, sending_each(sent.append)).send_batch() == 0


def test_what_the_database_does_not_mark_as_sent_is_not_sent_again_and_again(counting: Service) -> None:
    """As while it is read-only or full."""
    with counting.store.transaction():
        outbox.emit(UserDeleted(uuid4()))
    with engine(counting).begin() as connection:
        connection.execute(text("ALTER TABLE outbox ADD CONSTRAINT unwritable CHECK (sent_at IS NULL) NOT VALID"))
    sent: list[Envelope] = []
    relay = Relay(counting.store.source, sending_each(sent.append))
    try:
        for _ in range(3):
            with pytest.raises(IntegrityError):
                relay.send_batch()
    finally:
        with engine(counting).begin() as connection:
            connection.execute(text("ALTER TABLE outbox DROP CONSTRAINT unwritable"))
    assert (len(sent), relay.send_batch(), relay.send_batch(), len(sent)) == (1, 1, 0, 1)


def test_while_our_own_database_is_unavailable_a_message_is_retried_every_few_seconds() -> None:
    service = Service("counting", Settings, dict, handlers=handlers)
    service.settings = Settings(database_url="postgresql://user:x@127.0.0.1:1/none")
    last = {worker.ATTEMPT_HEADER: len(worker.DELAYS_MILLISECONDS)}
    verdict = worker.receive(service, envelope(UserDeleted(uuid4())).to_json(), last)
    assert isinstance(verdict, Retry)
    assert worker.DELAYS_MILLISECONDS[verdict.attempt] <= 5_000


@pytest.mark.parametrize("attempt", ["many", -1])
def test_a_message_with_an_unreadable_attempt_is_a_dead_letter_when_it_fails(
    counting: Service, attempt: object
) -> None:
    verdict = worker.receive(counting, envelope(UserDeleted(FAILS_ONCE)).to_json(), {worker.ATTEMPT_HEADER: attempt})
    assert isinstance(verdict, DeadLetter)


def test_two_relays_share_the_work(counting: Service) -> None:
    with counting.store.transaction():
        outbox.emit(UserDeleted(uuid4()))
    with counting.store.source.unsent() as first, counting.store.source.unsent() as second:
        assert (len(first.unsent), len(second.unsent)) == (1, 0)


def test_a_commit_wakes_the_relay(counting: Service) -> None:
    arrived, stopping = threading.Event(), threading.Event()
    # Polling alone would take a minute: only the wake-up can bring the message in time.
    relay = Relay(counting.store.source, sending_each(lambda _: arrived.set()), poll_seconds=60)
    counting.store.source.wait(0)
    thread = threading.Thread(target=relay.run, args=[stopping], daemon=True)
    thread.start()
    with counting.store.transaction():
        outbox.emit(UserDeleted(uuid4()))
    assert arrived.wait(10)
    stopping.set()
    with counting.store.transaction():
        outbox.emit(UserDeleted(uuid4()))
    thread.join(10)
    assert not thread.is_alive()


def test_code_below_the_edge_cannot_open_a_transaction(counting: Service) -> None:
    with pytest.raises(RuntimeError, match="No transaction is open"):
        outbox.emit(UserDeleted(uuid4()))
    with counting.store.transaction(), pytest.raises(RuntimeError, match="already open"), counting.store.transaction():
        pass


def test_a_relay_sends_the_oldest_first(counting: Service) -> None:
    messages = [UserDeleted(uuid4()) for _ in range(3)]
    for message in messages:
        with counting.store.transaction():
            outbox.emit(message)
    with engine(counting).begin() as connection:
        oldest = text("UPDATE outbox SET occurred_at = now() - interval '1 hour' WHERE subject = :subject")
        connection.execute(oldest, {"subject": str(messages[0].user_id)})
    sent: list[Envelope] = []
    assert Relay(counting.store.source, sending_each(sent.append)).send_batch() == 3
    assert [each.message() for each in sent] == messages
    since = REGISTRY.get_sample_value("souk_outbox_oldest_unsent_timestamp_seconds")
    assert 0 < (since or 0) <= time.time() - 3_600


def test_a_slow_batch_ends_in_time_and_keeps_what_it_sent(counting: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        with counting.store.transaction():
            outbox.emit(UserDeleted(uuid4()))
    monkeypatch.setattr(relay_module, "MAX_BATCH_SECONDS", 1.1)
    sent: list[Envelope] = []

    def send_slowly(message: Envelope) -> None:
        began_at = time.monotonic()
        sent.append(message)
        until(lambda: time.monotonic() - began_at > 1.1)

    relay = Relay(counting.store.source, sending_each(send_slowly))
    assert [relay.send_batch() for _ in range(3)] == [1, 1, 0]
    assert len({each.id for each in sent}) == 2


def test_a_timer_runs_in_a_transaction(counting: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    stopping = threading.Event()

    def fire() -> None:
        stopping.set()
        postgres.session().execute(text("INSERT INTO counted VALUES (:id)"), {"id": uuid4()})

    monkeypatch.setattr(counting, "timers", [Timer(0.01, fire)])
    worker.run_timers(counting, stopping)
    assert counted(counting) == 1


def test_a_timer_that_fails_leaves_nothing(counting: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    stopping = threading.Event()

    def fail() -> None:
        stopping.set()
        postgres.session().execute(text("INSERT INTO counted VALUES (:id)"), {"id": uuid4()})
        raise ConnectionError("not now")

    monkeypatch.setattr(counting, "timers", [Timer(0.01, fail)])
    worker.run_timers(counting, stopping)
    assert counted(counting) == 0


def test_a_timer_with_more_to_do_runs_again_at_once(counting: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    stopping, runs = threading.Event(), list[str]()

    def purge() -> bool:
        runs.append("some")
        return len(runs) < 3

    def note() -> None:
        runs.append("other")
        stopping.set()

    monkeypatch.setattr(counting, "timers", [Timer(0.01, purge), Timer(0.01, note)])
    worker.run_timers(counting, stopping)
    assert runs[:3] == ["some"] * 3


def test_old_rows_are_purged(counting: Service) -> None:
    """Younger ones stay: a message that comes again must still be known."""
    system = System([counting])
    # The first will be three days old, the second one and a half.
    for _ in range(2):
        with counting.store.transaction():
            outbox.emit(UserDeleted(uuid4()))
        system.drain()
        with engine(counting).begin() as connection:
            connection.execute(text("UPDATE outbox SET sent_at = sent_at - interval '36 hours'"))
            connection.execute(text("UPDATE inbox SET received_at = received_at - interval '36 hours'"))
    with engine(counting).begin() as connection:
        connection.execute(
            text(
                "INSERT INTO idempotency (caller, route, key_hash, request_hash, created_at)"
                " VALUES ('', '', 'old', '', now() - interval '3 days'), ('', '', 'new', '', now() - interval '1 day')"
            )
        )
    with counting.store.transaction():
        outbox.emit(UserDeleted(uuid4()))
    with counting.store.transaction():
        worker.purge(counting)
    with engine(counting).connect() as connection:
        tables = ("outbox", "inbox", "idempotency")
        left = [connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in tables]
    assert left == [2, 1, 1]
    system.deliver(counting, system.sent[1])
    assert counted(counting) == 2


def test_old_rows_are_purged_in_bounded_batches(counting: Service) -> None:
    more = 10
    with engine(counting).begin() as connection:
        connection.execute(
            text(
                "INSERT INTO inbox SELECT gen_random_uuid(), now() - interval '3 days' FROM generate_series(1, :rows)"
            ),
            {"rows": 2 * postgres.PURGE_BATCH + more},
        )
    left = []
    may_be_more = True
    while may_be_more:
        with counting.store.transaction():
            may_be_more = worker.purge(counting)
            left.append(postgres.session().execute(text("SELECT count(*) FROM inbox")).scalar_one())
    assert left == [postgres.PURGE_BATCH + more, more, 0]


def test_a_message_survives_its_envelope() -> None:
    order_id, product_id = uuid4(), uuid4()
    for message in (
        ReserveStock(order_id, {product_id: 2}),
        OrderConfirmed(order_id, uuid4(), [Line(product_id, "Tea", 2, 1250)], 2500, "EUR"),
    ):
        packed = replace(Envelope.of(message, "orders"), traceparent="00-a-b-01")
        unpacked = Envelope.from_json(packed.to_json())
        assert unpacked == packed
        assert unpacked.message() == message


def test_two_messages_of_one_type_are_refused() -> None:
    with pytest.raises(TypeError, match=r"user\.deleted"):
        type("Again", (UserDeleted,), {}, type="user.deleted")
    assert MESSAGES["user.deleted"] is UserDeleted


def test_two_handlers_of_one_message_are_refused() -> None:
    with pytest.raises(TypeError, match="twice"):
        handlers.on(UserDeleted)(count)


@pytest.mark.parametrize("type_", ["no.such.message", "user.registered"])
def test_a_type_without_a_handler_is_retried_before_it_is_a_dead_letter(counting: Service, type_: str) -> None:
    """A newer release beside this one may have bound the queue to it already."""
    body = replace(envelope(UserDeleted(uuid4())), type=type_).to_json()
    first = worker.receive(counting, body, {})
    last = worker.receive(counting, body, {worker.ATTEMPT_HEADER: len(worker.DELAYS_MILLISECONDS)})
    assert first == Retry(0)
    assert isinstance(last, DeadLetter)
    assert type_ in last.reason


def test_an_unknown_type_is_named_in_the_error() -> None:
    with pytest.raises(UnknownType, match=r"no\.such"):
        replace(envelope(UserDeleted(uuid4())), type="no.such").message()


TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], list[dict[str, object]]]:
    """The log lines of an event since the last call."""
    telemetry.configure_logging("counting", "info")
    # Its logger may have been bound by an earlier test.
    monkeypatch.setattr(worker, "log", get_logger("chassis.run.worker"))

    def logged(event: str) -> list[dict[str, object]]:
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return [line for line in found if line["event"] == event]

    return logged


def test_each_delivery_is_one_line_of_the_log(
    counting: Service, lines: Callable[[str], list[dict[str, object]]]
) -> None:
    system, trace = System([counting]), f"00-{TRACE_ID}-b7ad6b7169203331-01"
    first, second = envelope(UserDeleted(uuid4())), envelope(UserDeleted(uuid4()))
    request = str(uuid4())
    traced = replace(first, traceparent=trace, correlation_id=request)
    system.deliver_together(counting, [traced, second, first])
    together = lines("message")
    assert [(line["outcome"], line["message_id"]) for line in together] == [
        ("done", str(first.id)),
        ("done", str(second.id)),
        ("duplicate", str(first.id)),
    ]
    assert (together[0]["trace_id"], together[0]["correlation_id"]) == (TRACE_ID, request)
    assert together[0]["user_id"] == first.subject
    assert {"trace_id", "correlation_id"}.isdisjoint(together[1])
    for user_id, outcome in ((IMPOSSIBLE, "dead_letter"), (FAILS_ONCE, "retried")):
        system.deliver(counting, envelope(UserDeleted(user_id)))
        [line] = lines("message")
        assert (line["outcome"], line["type"], line["user_id"]) == (outcome, "user.deleted", str(user_id))
        assert isinstance(line["milliseconds"], float)


def test_what_was_sent_for_a_request_carries_its_correlation_id(counting: Service) -> None:
    system, request = System([counting]), str(uuid4())
    with tracing.trace("", request, work="test"), counting.store.transaction():
        outbox.emit(UserDeleted(uuid4()))
    with tracing.trace("", "4929939187355598", work="test"), counting.store.transaction():
        outbox.emit(UserDeleted(uuid4()))
    system.drain()
    assert [sent.correlation_id for sent in system.sent] == [request, ""]
    assert [Envelope.from_json(sent.to_json()) for sent in system.sent] == system.sent
