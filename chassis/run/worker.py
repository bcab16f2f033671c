"""A service's worker: consumes its queue, relays its outbox, runs its timers, until SIGTERM; then finishes what is in hand."""

import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from structlog import get_logger

from chassis.base import clock, health, telemetry
from chassis.base.problems import Problem
from chassis.messaging import handlers
from chassis.messaging.broker import ATTEMPT_HEADER, DELAYS_MILLISECONDS, Consumer, Publisher
from chassis.messaging.envelope import Envelope
from chassis.messaging.message import NewerVersion, UnknownType
from chassis.messaging.relay import TASK_PREFIX, Relay
from chassis.run.service import Service, Timer
from chassis.storage import store

log = get_logger(__name__)

MAX_BLAMELESS_ATTEMPT = DELAYS_MILLISECONDS.index(5_000)
"""The longest delay of a message whose failure is not its own, so that it does not wait on for minutes once the cause is gone."""

KEPT = timedelta(days=2)
"""How long what was received, sent or answered is remembered: longer than anything is repeated."""


def handle(service: Service, envelope: Envelope) -> bool:
    """Do what `service` does about the message, in one transaction. False when it was known already."""
    assert service.handlers is not None
    if envelope.type not in service.handlers.by_type:
        raise UnknownType(f"{service.name} has no handler of {envelope.type}.")
    message = envelope.message()
    with (
        store.active(service.store),
        telemetry.trace(envelope.traceparent, work=envelope.type, subject=envelope.subject),
    ):
        started = time.perf_counter()
        with service.store.transaction():
            if not service.store.first_time(envelope.id):
                return False
            with handlers.receiving(envelope):
                service.handlers.by_type[envelope.type](message)
        service.store.source.wake()
        telemetry.HANDLING_SECONDS.labels(envelope.type).observe(time.perf_counter() - started)
    return True


def receive(service: Service, body: bytes, headers: dict[str, Any]) -> tuple[str, Any] | None:
    """Handle one delivery; what becomes of it: None (done), ("retry", attempt) or ("dead", reason)."""
    type_, outcome = "unknown", "done"
    verdict: tuple[str, Any] | None = None
    try:
        envelope = Envelope.from_json(body)
        type_ = _label(service, envelope)
        outcome = "done" if handle(service, envelope) else "known"
    except NewerVersion as newer:
        # Two releases run beside each other: an instance of the newer one will get it, or this one once it is replaced.
        log.warning("message waits for a newer release", type=type_, reason=newer.detail)
        outcome, verdict = "retried", ("retry", min(_attempt(headers), MAX_BLAMELESS_ATTEMPT))
    except Problem as problem:
        log.error("message is dead", type=type_, reason=problem.detail)
        outcome, verdict = "dead", ("dead", f"{problem.title}: {problem.detail}")
    except service.store.unavailable as error:
        # Our own database is away: no message dies of that, however long it takes, nor sleeps on for long when it is back.
        log.warning("message waits for the database", type=type_, error=type(error).__name__)
        outcome, verdict = "retried", ("retry", min(_attempt(headers), MAX_BLAMELESS_ATTEMPT))
    except Exception as error:  # a dependency may be back later, so the message is tried again
        attempt = _attempt(headers)
        log.warning("message failed", type=type_, attempt=attempt, exc_info=error)
        dead = attempt >= len(DELAYS_MILLISECONDS)
        outcome, verdict = ("dead", ("dead", repr(error))) if dead else ("retried", ("retry", attempt))
    telemetry.MESSAGES_HANDLED.labels(type_, outcome).inc()
    return verdict


def _label(service: Service, envelope: Envelope) -> str:
    """The type as a metric's label: one of those that are handled, as anything may stand in an envelope."""
    assert service.handlers is not None
    return envelope.type if envelope.type in service.handlers.by_type else "unknown"


def _attempt(headers: dict[str, Any]) -> int:
    """How often the message failed before; one that does not say so in a number has failed for the last time."""
    value = headers.get(ATTEMPT_HEADER, 0)
    return value if isinstance(value, int) and value >= 0 else len(DELAYS_MILLISECONDS)


def sender(service: Service, publisher: Publisher) -> Callable[[Envelope], None]:
    """How the relay sends a row: a task to Celery, anything else to the exchange."""

    def send(envelope: Envelope) -> None:
        if envelope.type.startswith(TASK_PREFIX):
            assert service.celery is not None
            service.celery.send(envelope)
        else:
            publisher.publish(envelope)

    return send


def forget(service: Service) -> None:
    """Delete what nobody will ask for again."""
    service.store.forget(clock.now() - KEPT)


def run_timers(service: Service, stopping: threading.Event) -> None:
    timers = [*service.timers, Timer(3_600, partial(forget, service))]
    due = {index: time.monotonic() + timer.every_seconds for index, timer in enumerate(timers)}
    while not stopping.wait(max(0.0, min(due.values()) - time.monotonic())):
        for index, timer in enumerate(timers):
            if due[index] <= time.monotonic():
                _run(service, timer)
                due[index] = time.monotonic() + timer.every_seconds


def _run(service: Service, timer: Timer) -> None:
    with store.active(service.store), telemetry.trace(work=_title(timer)):
        try:
            with service.store.transaction():
                timer.run()
        except Exception as error:  # the next turn comes anyway
            log.warning("timer failed", exc_info=error)


def _title(timer: Timer) -> str:
    function = timer.run.func if isinstance(timer.run, partial) else timer.run
    return f"timer {getattr(function, '__name__', '')}"


def run(service: Service) -> None:
    """Work until SIGTERM or SIGINT."""
    settings = service.settings
    telemetry.configure_logging(service.name, settings.log_level)
    stopping = threading.Event()
    publisher = Publisher(settings.broker_url)
    relay = Relay(service.store.source, sender(service, publisher))
    consumer = _consumer(service)
    checks: dict[str, Callable[[], None]] = {"database": service.store.check}
    if consumer is not None:
        checks["broker"] = lambda: _expect_ready(consumer)

    def stop(*_: object) -> None:
        stopping.set()
        if consumer is not None:
            consumer.should_stop = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)

    def ending_all(work: Callable[[], None]) -> Callable[[], None]:
        """Whatever ends a part of the worker ends the process: one that is restarted is seen, one that lacks a part is not."""

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
    health.serve(health.Health(checks), settings.host, settings.port)
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
        if service.celery is not None:
            service.celery.close()


def _consumer(service: Service) -> Consumer | None:
    if service.handlers is None:
        return None
    types = sorted(service.handlers.by_type)
    return Consumer(
        service.settings.broker_url,
        service.name,
        types,
        lambda body, headers: receive(service, body, headers),
    )


def _expect_ready(consumer: Consumer) -> None:
    if not consumer.is_ready:
        raise ConnectionError("The consumer has no queue, or hangs.")
