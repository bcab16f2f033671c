"""Consumes a queue: acknowledges messages once they are handled or their copies are stored."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from kombu import Connection
from kombu.mixins import ConsumerMixin
from structlog import get_logger

from chassis.base import clock, failpoints, telemetry
from chassis.messaging import broker
from chassis.messaging.broker import ATTEMPT_HEADER, DELAYS_MILLISECONDS, DIED_AT_HEADER, ERROR_HEADER
from chassis.messaging.publisher import Publisher

log = get_logger(__name__)

PREFETCH = 16
"""Also the most that are handled together."""

GATHER_SECONDS = 0.001
"""For the next of those that were delivered together."""

MAX_HANDLING_SECONDS = 45
"""Longer than a handler's statements, locks and retries can take."""

COUNT_DEAD_LETTERS_SECONDS = 10

DECLARE_SECONDS = 5
"""The broker does not report a deleted exchange or binding."""


@dataclass(frozen=True)
class Retry:
    """`attempt`: earlier failures; selects the delay."""

    attempt: int


@dataclass(frozen=True)
class DeadLetter:
    reason: str


@dataclass(frozen=True)
class Hold:
    """Handle it later without a copy: nothing can be stored at the moment."""

    seconds: float


Verdict = Retry | DeadLetter | Hold | None
"""None when done."""


@dataclass(frozen=True)
class Delivery:
    body: bytes
    headers: dict[str, Any]


Handle = Callable[[Sequence[Delivery]], Sequence[Verdict] | None]
"""None: not together, but perhaps one by one."""


class _Stopping(Exception):
    """Stopped while waiting for the broker."""


class Consumer(ConsumerMixin):
    """Carries out the verdicts of `handle`."""

    def __init__(self, url: str, service: str, types: list[str], handle: Handle) -> None:
        self.url = url
        self.service = service
        self.types = types
        self.handle = handle
        self.connection = broker.connect(url)
        self.publisher = Publisher(url, service)
        self._is_consuming = threading.Event()
        self._iterated_at = 0.0
        self._delivered: list[Any] = []
        self._delayed: list[tuple[float, Any]] = []
        self._established: Any = None
        self._channel: Any = None
        self._count_at = 0.0
        self._declare_at = 0.0

    def get_consumers(self, Consumer: Any, channel: Any) -> list[Any]:  # noqa: N803 - kombu's name
        self._is_consuming.clear()
        # The broker delivers again what the last connection left.
        self._delivered = []
        self._delayed.clear()
        broker.declare(self.url, self.service, self.types)
        queue = broker.service_queue(self.service, self.types)
        # on_message gives the raw body: kombu's decoding acknowledges what it cannot read.
        return [Consumer([queue], on_message=self._delivered.append, prefetch_count=PREFETCH)]

    def on_consume_ready(self, connection: Any, channel: Any, consumers: Any, **kwargs: Any) -> None:
        self._iterated_at = time.monotonic()
        self._established, self._channel = connection, channel
        self._declare_at = time.monotonic() + DECLARE_SECONDS
        self._is_consuming.set()

    @property
    def is_ready(self) -> bool:
        """Whether it is consuming and no handler hangs."""
        return self._is_consuming.is_set() and time.monotonic() - self._iterated_at < MAX_HANDLING_SECONDS

    def wait_ready(self, seconds: float) -> bool:
        return self._is_consuming.wait(seconds)

    def run(self, *args: Any, **kwargs: Any) -> None:
        with suppress(_Stopping):
            super().run(*args, **kwargs)  # type: ignore[no-untyped-call]

    @contextmanager
    def establish_connection(self) -> Iterator[Connection]:
        with self.connection.clone() as connection:
            connection.ensure_connection(self.on_connection_error, interval_max=5, callback=self._leave_if_stopping)
            yield connection

    def _leave_if_stopping(self) -> None:
        if self.should_stop:
            raise _Stopping

    def on_connection_error(self, exc: Exception, interval: float) -> None:
        self._is_consuming.clear()
        log.warning("broker unavailable", error=repr(exc), next_try_seconds=interval)

    def on_iteration(self) -> None:
        self._iterated_at = now = time.monotonic()
        self._delivered += [message for at, message in self._delayed if at <= now]
        self._delayed = [(at, message) for at, message in self._delayed if at > now]
        self._gather()
        if self._delivered:
            taken, self._delivered[:] = list(self._delivered), []
            self._receive(taken)
        if self._declare_at <= time.monotonic():
            self._declare_again()
        if self._count_at <= time.monotonic() and broker.is_amqp(self.url):
            self._count_at = time.monotonic() + COUNT_DEAD_LETTERS_SECONDS
            for queue in (broker.dead_letter_queue(self.service).name, broker.UNROUTED):
                telemetry.DEAD_LETTERS.labels(queue).set(broker.depth(self._channel, queue))

    def _declare_again(self) -> None:
        self._declare_at = time.monotonic() + DECLARE_SECONDS
        try:
            broker.declare_on(self._channel, self.service, self.types, broker.is_amqp(self.url))
        except Exception:
            self._is_consuming.clear()
            raise
        if not broker.is_amqp(self.url):
            for _, message in self._delayed:
                # Renews its visibility.
                message.channel.qos.append(message, message.delivery_tag)

    def _gather(self) -> None:
        """What else has been delivered."""
        with suppress(TimeoutError):
            while 0 < len(self._delivered) < PREFETCH:
                self._established.drain_events(timeout=GATHER_SECONDS)

    def _receive(self, messages: Sequence[Any]) -> None:
        for message in messages:
            failpoints.point(f"receive {_key(message)}")
        self._handle(messages)

    def _handle(self, messages: Sequence[Any]) -> None:
        verdicts = self.handle([Delivery(broker.body_of(message), message.headers) for message in messages])
        if verdicts is None:
            for message in messages:
                self._handle([message])
                self._iterated_at = time.monotonic()
            return
        for message in messages:
            failpoints.point(f"acknowledge {_key(message)}")
        # Alone, a message may follow older ones that wait their turn.
        if len(messages) > 1 and broker.is_amqp(self.url) and not any(verdicts) and not self._delayed:
            # All that were delivered before these are settled: none is held.
            max(messages, key=attrgetter("delivery_tag")).ack(multiple=True)
        else:
            for message, verdict in zip(messages, verdicts, strict=True):
                self._settle(message, verdict)
        for message in messages:
            failpoints.point(f"acknowledged {_key(message)}")

    def _settle(self, message: Any, verdict: Verdict) -> None:
        match verdict:
            case None:
                message.ack()
            case DeadLetter(reason):
                self._dead_letter(message, broker.body_of(message), reason)
            case Retry(attempt):
                self._delay(message, broker.body_of(message), attempt)
            case Hold(seconds):
                self._delayed.append((time.monotonic() + seconds, message))

    def _dead_letter(self, message: Any, body: bytes, reason: str) -> None:
        headers = {**message.headers, ERROR_HEADER: reason[:2_000], DIED_AT_HEADER: clock.now().isoformat()}
        self.publisher.send_to(broker.dead_letter_queue(self.service), body, headers)
        message.ack()

    def _delay(self, message: Any, body: bytes, attempt: int) -> None:
        milliseconds = DELAYS_MILLISECONDS[attempt]
        headers = {**message.headers, ATTEMPT_HEADER: attempt + 1}
        if broker.is_amqp(self.url):
            # Copy first, then acknowledge: a crash leaves two, never none.
            self.publisher.send_to(broker.delay_queue(self.service, milliseconds), body, headers)
            message.ack()
        else:
            message.headers.update(headers)
            self._delayed.append((time.monotonic() + milliseconds / 1000, message))


def _key(message: Any) -> str:
    return str(message.delivery_info.get("routing_key"))
