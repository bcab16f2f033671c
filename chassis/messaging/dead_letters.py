"""Lists and replays dead letters."""

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from amqp.exceptions import AMQPError
from amqp.exceptions import NotFound as NoQueue
from kombu import Connection, Consumer, Queue
from kombu.exceptions import OperationalError

from chassis.base import telemetry
from chassis.base.parsing import parse_json
from chassis.messaging import broker
from chassis.messaging.broker import ATTEMPT_HEADER, DIED_AT_HEADER, ERROR_HEADER, REPLAY_HEADER, body_of
from chassis.messaging.publisher import Outgoing, Publisher, points_of

UNAVAILABLE: tuple[type[Exception], ...] = (OSError, AMQPError, OperationalError)
"""Errors of a broker that cannot be reached."""

MAX_LETTERS = 10_000
"""Per run; held in memory."""

QUIET_SECONDS = 2.0
"""Without a delivery, no more are waiting."""

READ_SECONDS = 5.0

RETURN_SECONDS = 1.0
"""Quorum queues take back what was looked at a moment later; the next one to look would not see it."""

RETURN_POLL_SECONDS = 0.01

BATCH = 100
"""Published before waiting for their confirms."""

MAX_RETURNS = 10
"""Then send a fresh copy: RabbitMQ 4's quorum queues drop a message at its 21st return."""

_BROKER_HEADERS = (
    "x-delivery-count",
    "x-death",
    "x-first-death-exchange",
    "x-first-death-queue",
    "x-first-death-reason",
)
_COPIED = ("correlation_id", "reply_to", "priority")
_REASONS = {
    "delivery_limit": "It crashed the worker each time it was handled.",
    "rejected": "Celery does not know this task, or could not read it.",
}


@dataclass(frozen=True)
class Letter:
    """`queue` is `rows` for a row."""

    id: str
    queue: str
    type: str
    since: str
    error: str
    details: dict[str, Any]


def unrecorded(letters: Sequence[Letter]) -> None:
    """They are sent without a trail, or their caller keeps one."""


class DeadLetterQueue:
    """Replays to the queues of `service`, or without one to the exchange."""

    def __init__(self, url: str, queue: str, service: str | None) -> None:
        self.name = queue
        self._url, self._queue, self._service = url, queue, service

    def count(self) -> int:
        with broker.connect(self._url, read_seconds=READ_SECONDS) as connection:
            try:
                return broker.depth(connection.default_channel, self._queue)
            except NoQueue:
                return 0

    def letters(self, limit: int = MAX_LETTERS) -> list[Letter]:
        """Oldest first."""
        with self._held(limit) as messages:
            found, worn = [], []
            for message in messages:
                found.append(_letter(message, self._queue))
                if message.headers.get("x-delivery-count", 0) >= MAX_RETURNS:
                    worn.append((message, _copy(message, self._service or "", self._queue, {})))
            self._move(worn)
        return found

    def find(self, letter_id: str) -> list[Letter]:
        """More than one if it was copied."""
        return [letter for letter in self.letters() if letter.id == letter_id]

    def replay(
        self, ids: Sequence[str] | None, dry_run: bool, before: Callable[[Sequence[Letter]], None] = unrecorded
    ) -> list[Letter]:
        """`ids` None: all. `details` says where each went. before: called with what is about to be sent."""
        replayed, moves = [], []
        wanted = None if ids is None else frozenset(ids)
        with self._held() as messages:
            for message in messages:
                letter = _letter(message, self._queue)
                if wanted is not None and letter.id not in wanted:
                    continue
                exchange, key = self._destination(message)
                replay = {ATTEMPT_HEADER: 0, REPLAY_HEADER: message.headers.get(REPLAY_HEADER, 0) + 1}
                moves.append((message, _copy(message, exchange, key, replay)))
                to = key if exchange == self._service else f"{exchange}: {key}"
                replayed.append(replace(letter, details={"to": to, "replayed": not dry_run}))
            if not dry_run:
                before(replayed)
                self._move(moves)
        return replayed

    @contextmanager
    def _held(self, limit: int = MAX_LETTERS) -> Iterator[Iterator[Any]]:
        """Unacknowledged messages return to their places."""
        with broker.connect(self._url, read_seconds=READ_SECONDS) as connection:
            self._publisher = Publisher(self._url, declares=self._service is None)
            channel = connection.default_channel
            try:
                waiting = min(broker.depth(channel, self._queue), limit)
            except NoQueue:
                waiting = 0
            self._moved = 0
            try:
                yield _delivered(connection, self._queue, waiting)
            finally:
                self._publisher.close()
            channel.close()
            _await_return(connection, self._queue, waiting - self._moved)

    def _destination(self, message: Any) -> tuple[str, str]:
        if self._service is None:
            return broker.EXCHANGE.name, str(message.delivery_info.get("routing_key") or "")
        return self._service, f"{self._service}.celery" if "task" in message.headers else self._service

    def _move(self, moves: Sequence[tuple[Any, Outgoing]]) -> None:
        """Publish copies, then acknowledge each original."""
        for start in range(0, len(moves), BATCH):
            some = moves[start : start + BATCH]
            for index in self._publisher.send_all([copy for _, copy in some]):
                some[index][0].ack()
                self._moved += 1


def _copy(message: Any, exchange: str, key: str, headers: dict[str, Any]) -> Outgoing:
    dropped = _BROKER_HEADERS if not headers else (*_BROKER_HEADERS, ERROR_HEADER, DIED_AT_HEADER)
    kept = {name: value for name, value in message.headers.items() if name not in dropped}
    properties = {name: value for name, value in message.properties.items() if name in _COPIED}
    return Outgoing(key, body_of(message), points_of(key), exchange, kept | headers, message.content_type, properties)


def _await_return(connection: Connection, queue: str, count: int) -> None:
    until = time.monotonic() + RETURN_SECONDS
    with connection.channel() as channel:
        while count and broker.depth(channel, queue) < count and time.monotonic() < until:
            time.sleep(RETURN_POLL_SECONDS)


def _delivered(connection: Connection, queue: str, count: int) -> Iterator[Any]:
    """Fewer when another process holds some. Delivered ahead: a round trip for each takes ten times as long."""
    received: deque[Any] = deque()
    consumer = Consumer(
        connection, [Queue(queue)], auto_declare=False, prefetch_count=count, on_message=received.append
    )
    with consumer if count else nullcontext():
        for _ in range(count):
            while not received:
                try:
                    connection.drain_events(timeout=QUIET_SECONDS)
                except TimeoutError:
                    return
            yield received.popleft()


def _letter(message: Any, queue: str) -> Letter:
    body, headers = body_of(message), message.headers
    try:
        content = parse_json(body)
    except ValueError:
        content = None
    envelope = content if isinstance(content, dict) else {}
    deaths = headers.get("x-death") or [{}]
    died_at = headers.get(DIED_AT_HEADER) or deaths[0].get("time") or envelope.get("time") or ""
    error = headers.get(ERROR_HEADER) or _REASONS.get(headers.get("x-first-death-reason", ""), "")
    shown = telemetry.blanked(content) if content is not None else f"{len(body)} bytes that are not JSON"
    return Letter(
        id=str(headers.get("id") or envelope.get("id") or hashlib.sha256(body).hexdigest()[:16]),
        queue=queue,
        type=str(headers.get("task") or envelope.get("type") or "unknown"),
        since=str(died_at),
        error=str(error or ("No queue is bound for it." if queue == broker.UNROUTED else "")),
        details={"headers": {name: str(value)[:500] for name, value in headers.items()}, "body": shown},
    )
