"""A service's worker: consumes its queue, relays its outbox, runs its timers."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from prometheus_client import Gauge
from structlog import get_logger
from structlog.contextvars import bound_contextvars

from chassis.base import clock, disk, failpoints, health, telemetry, tracing
from chassis.base.problems import Problem
from chassis.base.tracing import Kind, Span
from chassis.clients import credentials
from chassis.messaging import broker, handlers, spans
from chassis.messaging.broker import ATTEMPT_HEADER, DELAYS_MILLISECONDS, REPLAY_HEADER
from chassis.messaging.consumer import Consumer, DeadLetter, Delivery, Hold, Retry, Verdict
from chassis.messaging.envelope import Envelope
from chassis.messaging.message import REGISTRY, NewerVersion, UnknownType
from chassis.messaging.publisher import Outgoing, Publisher
from chassis.messaging.relay import TASK_PREFIX, TASK_ROWS, Relay, Send
from chassis.run.service import Service, Timer
from chassis.storage import store

log = get_logger(__name__)

MAX_BLAMELESS_ATTEMPT = DELAYS_MILLISECONDS.index(5_000)
"""Caps the delay where the failure is not the message's own."""

RETENTION = timedelta(days=2)
"""Of inbox, outbox and idempotency keys: outlasts any repetition."""

FULL_DISK_SECONDS = 5.0

TIMER_SUCCEEDED = Gauge(
    "souk_timer_last_success_timestamp_seconds", "When a timer last succeeded, or the program started.", ["timer"]
)
TIMER_SECONDS = Gauge("souk_timer_interval_seconds", "How often a timer runs.", ["timer"])

_OUTCOMES = {type(None): "done", Retry: "retried", DeadLetter: "dead_letter"}


def handle(service: Service, envelopes: Sequence[Envelope], traces: Sequence[Span | None]) -> list[bool]:
    """In one transaction, in this order. False for each duplicate."""
    assert service.handlers is not None
    by_type = service.handlers.by_type
    if unknown := next((envelope.type for envelope in envelopes if envelope.type not in by_type), None):
        raise UnknownType(f"{service.name} has no handler for {unknown}.")
    messages = [envelope.message() for envelope in envelopes]
    work = failpoints.together(envelope.type for envelope in envelopes)
    started = time.perf_counter()
    with store.active(service.store), bound_contextvars(work=work):
        with service.store.handling():
            new = service.store.first_times([envelope.id for envelope in envelopes])
            are_new = [_is_first(envelope.id, new) for envelope in envelopes]
            service.handlers.lock([message for message, is_new in zip(messages, are_new, strict=True) if is_new])
            for envelope, message, span, is_new in zip(envelopes, messages, traces, are_new, strict=True):
                if is_new:
                    with (
                        tracing.trace(
                            envelope.traceparent,
                            envelope.correlation_id,
                            span,
                            work=envelope.type,
                            subject=envelope.subject,
                            message_id=str(envelope.id),
                        ),
                        handlers.receiving(envelope),
                    ):
                        by_type[envelope.type](message)
        service.store.source.wake()
    for envelope, span, is_new in zip(envelopes, traces, are_new, strict=True):
        if is_new:
            seconds = time.perf_counter() - started
            telemetry.HANDLING_SECONDS.labels(envelope.type).observe(seconds, tracing.exemplar(span))
        if span is not None:
            span.end()
    return are_new


def _span(service: Service, envelope: Envelope, headers: dict[str, Any]) -> Span | None:
    """Of one attempt, however often it is delivered."""
    assert service.handlers is not None
    type_ = envelope.type if envelope.type in service.handlers.by_type else "unknown"
    destination = f"{broker.EXCHANGE.name}:{type_}:{service.name}"
    attempt = headers.get(ATTEMPT_HEADER, 0), headers.get(REPLAY_HEADER, 0)
    return spans.begin(Kind.CONSUMER, type_, destination, envelope.id, envelope.traceparent, service.name, *attempt)


def _is_first(message_id: UUID, new: set[UUID]) -> bool:
    """Once, if it was delivered twice together."""
    is_first = message_id in new
    new.discard(message_id)
    return is_first


def receive_all(service: Service, deliveries: Sequence[Delivery]) -> list[Verdict] | None:
    """One verdict each. None if they cannot be handled together: then one by one, so that none harms another."""
    started = time.perf_counter()
    verdicts = _receive_all(service, deliveries)
    telemetry.consumed(service.name, len(verdicts or ()), started)
    return verdicts


def _receive_all(service: Service, deliveries: Sequence[Delivery]) -> list[Verdict] | None:
    if len(deliveries) == 1:
        return [receive(service, deliveries[0].body, deliveries[0].headers)]
    if disk.is_full(service.settings):
        return [Hold(FULL_DISK_SECONDS) for _ in deliveries]
    try:
        started = time.perf_counter()
        envelopes = [Envelope.from_json(delivery.body) for delivery in deliveries]
        pairs = zip(envelopes, deliveries, strict=True)
        are_new = handle(service, envelopes, [_span(service, envelope, each.headers) for envelope, each in pairs])
    except Exception as error:
        log.info("messages are handled one by one", count=len(deliveries), error=type(error).__name__)
        return None
    with telemetry.one_write():
        for envelope, is_new in zip(envelopes, are_new, strict=True):
            _record(_about(service, envelope), "done" if is_new else "duplicate", started)
    return [None] * len(deliveries)


def receive(service: Service, body: bytes, headers: dict[str, Any]) -> Verdict:
    if disk.is_full(service.settings):
        return Hold(FULL_DISK_SECONDS)
    started, about, is_new = time.perf_counter(), {"type": "unknown"}, True
    span: Span | None = None
    verdict: Verdict = None
    try:
        envelope = Envelope.from_json(body)
        about = _about(service, envelope)
        span = _span(service, envelope, headers)
        [is_new] = handle(service, [envelope], [span])
    except NewerVersion as newer:
        # An instance of the newer release will receive it.
        log.warning("message waits for a newer release", reason=newer.detail, **about)
        verdict = Retry(min(_attempt(headers), MAX_BLAMELESS_ATTEMPT))
    except Problem as problem:
        log.error("message is a dead letter", reason=problem.detail, **about)
        verdict = DeadLetter(f"{problem.title}: {problem.detail}")
    except service.store.unavailable as error:
        # Never a dead letter, however long that takes.
        log.warning("message waits for the database", **store.described(error), **about)
        verdict = Retry(min(_attempt(headers), MAX_BLAMELESS_ATTEMPT))
    except Exception as error:  # perhaps temporary
        attempt = _attempt(headers)
        log.warning("message failed", attempt=attempt, exc_info=error, **about)
        verdict = Retry(attempt) if attempt < len(DELAYS_MILLISECONDS) else DeadLetter(repr(error))
    if span is not None and verdict is not None:
        span.end(_OUTCOMES[type(verdict)])
    _record(about, _OUTCOMES[type(verdict)] if is_new else "duplicate", started)
    return verdict


def _about(service: Service, envelope: Envelope) -> dict[str, str]:
    """Its type, ids and trace. An envelope may hold any type, which must not become a metric's label."""
    assert service.handlers is not None
    found = {"message_id": str(envelope.id), **tracing.identity(envelope.traceparent, envelope.correlation_id)}
    if envelope.type not in service.handlers.by_type:
        return {"type": "unknown", **found}
    return {"type": envelope.type, REGISTRY[envelope.type].subject_name(): envelope.subject, **found}


def _record(about: dict[str, str], outcome: str, started: float) -> None:
    """started: by `perf_counter`, of all that were handled together."""
    telemetry.MESSAGES_HANDLED.labels(about["type"], outcome).inc()
    log.info("message", outcome=outcome, milliseconds=round((time.perf_counter() - started) * 1000, 1), **about)


def _attempt(headers: dict[str, Any]) -> int:
    """Earlier failures. Unreadable counts as the last, to end retries."""
    value = headers.get(ATTEMPT_HEADER, 0)
    return value if isinstance(value, int) and value >= 0 else len(DELAYS_MILLISECONDS)


def sender(service: Service, publisher: Publisher) -> Send:
    def send(envelopes: Sequence[Envelope]) -> Iterator[Envelope]:
        groups = _grouped(envelopes)
        for index in publisher.send_all([_outgoing(service, group) for group in groups]):
            for envelope in groups[index]:
                _trace_sending(service, envelope)
                yield envelope

    return send


def _trace_sending(service: Service, envelope: Envelope) -> None:
    if envelope.type.startswith(TASK_PREFIX):
        destination = f"{service.name}:{service.name}.celery"
    else:
        destination = f"{broker.EXCHANGE.name}:{envelope.type}"
    spans.sent(envelope, envelope.type.removeprefix(TASK_PREFIX), destination)


def _grouped(envelopes: Sequence[Envelope]) -> list[list[Envelope]]:
    """Tasks of one name share messages."""
    groups: list[list[Envelope]] = []
    open_groups: dict[str, list[Envelope]] = {}
    for envelope in envelopes:
        group = open_groups.get(envelope.type)
        if group is not None and len(group) < TASK_ROWS:
            group.append(envelope)
            continue
        groups.append([envelope])
        if envelope.type.startswith(TASK_PREFIX):
            open_groups[envelope.type] = groups[-1]
    return groups


def _outgoing(service: Service, group: Sequence[Envelope]) -> Outgoing:
    if not group[0].type.startswith(TASK_PREFIX):
        return Outgoing.of(group[0])
    assert service.celery is not None
    return service.celery.outgoing(group)


def purge(service: Service) -> bool:
    return service.store.purge(clock.now() - RETENTION)


def run_timers(service: Service, stopping: threading.Event) -> None:
    timers = [*service.timers, Timer(3_600, partial(purge, service))]
    due = {index: time.monotonic() + timer.every_seconds for index, timer in enumerate(timers)}
    for timer in timers:
        TIMER_SUCCEEDED.labels(_title(timer)).set_to_current_time()
        TIMER_SECONDS.labels(_title(timer)).set(timer.every_seconds)
    while not stopping.wait(max(0.0, min(due.values()) - time.monotonic())):
        for index, timer in enumerate(timers):
            if due[index] <= time.monotonic():
                while not disk.is_full(service.settings) and _run(service, timer) and not stopping.is_set():
                    pass
                due[index] = time.monotonic() + timer.every_seconds


def _run(service: Service, timer: Timer) -> bool:
    """Whether there is more to do."""
    work, error = f"timer {_title(timer)}", ""
    span = tracing.start(work, Kind.INTERNAL)
    with store.active(service.store), tracing.trace(span=span, work=work):
        try:
            with service.store.transaction():
                more = bool(timer.run())
            TIMER_SUCCEEDED.labels(_title(timer)).set_to_current_time()
            return more
        except Exception as failure:  # it fires again anyway
            log.warning("timer failed", exc_info=failure)
            error = type(failure).__name__
            return False
        finally:
            # Most runs find nothing to do.
            if span is not None and (span.is_handed_on or error):
                span.end(error)


def _title(timer: Timer) -> str:
    """deadlines.watch, worker.purge, ..."""
    function: Any = timer.run.func if isinstance(timer.run, partial) else timer.run
    return f"{function.__module__.rpartition('.')[2]}.{function.__name__}"


def run(service: Service) -> None:
    """On SIGTERM or SIGINT, finishes work in progress."""
    settings = service.settings
    telemetry.configure_logging(service.name, settings.log_level)
    telemetry.BUILD.labels(settings.version).set(1)
    stopping = threading.Event()
    publisher = Publisher(settings.broker_url, service.name)
    relay = Relay(service.store.source, sender(service, publisher), publisher.probe)
    consumer = _consumer(service)
    checks: dict[str, Callable[[], None]] = {"database": service.store.check, "relay": relay.check}
    if consumer is not None:
        checks["broker"] = lambda: _expect_ready(consumer)

    def stop(*_: object) -> None:
        stopping.set()
        if consumer is not None:
            consumer.should_stop = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)

    def ending_all(work: Callable[[], None]) -> Callable[[], None]:
        """A restart is noticed, a missing part is not."""

        def run_part() -> None:
            try:
                work()
            finally:
                stop()

        return run_part

    threads = [
        threading.Thread(target=ending_all(lambda: relay.run(stopping)), name="relay"),
        threading.Thread(target=ending_all(lambda: run_timers(service, stopping)), name="timers"),
    ]
    found = health.Health(checks, keys=lambda: credentials.digest(settings))
    health.serve(found, settings.host, settings.port)
    for thread in threads:
        thread.start()
    try:
        if consumer is not None:
            ending_all(consumer.run)()
        stopping.wait()
    finally:
        for thread in threads:
            thread.join()
        publisher.close()
        tracing.stop()


def _consumer(service: Service) -> Consumer | None:
    if service.handlers is None:
        return None
    types = sorted(service.handlers.by_type)
    return Consumer(service.settings.broker_url, service.name, types, partial(receive_all, service))


def _expect_ready(consumer: Consumer) -> None:
    if not consumer.is_ready:
        raise ConnectionError("The consumer has no queue or hangs.")
