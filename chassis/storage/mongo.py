"""MongoDB as a store: a document holds its own unsent messages, so one atomic update writes both.

Without transactions over several documents there is no inbox: handlers must be idempotent.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from types import ModuleType
from typing import Any, TypeVar
from uuid import UUID, uuid4

import mongoengine
import pymongo
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, ConnectionFailure, OperationFailure, PyMongoError
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from chassis.base import clock, deadline, telemetry
from chassis.messaging import relay
from chassis.messaging.envelope import Envelope
from chassis.messaging.message import Message
from chassis.messaging.relay import Batch, Source
from chassis.storage import metrics, mongo_trail
from chassis.storage.trail import Trail

UNSENT = "unsent"
"""The field that holds a document's unsent messages."""

OLDEST = f"{UNSENT}.occurred_at"

OPERATION_TIMEOUT_MILLISECONDS = 3_000
"""Including server selection, connecting and retries."""

CHECK_SECONDS = 1.5
"""Less than a probe's timeout."""

START_SECONDS = 10
"""For the first connection to a server that has just started."""

INDEX_TIMEOUT_SECONDS = 600

_DUPLICATE_KEY = 11_000

_REFUSALS = {
    13: "Unauthorized",
    18: "AuthenticationFailed",
    50: "MaxTimeMSExpired",
    202: "NetworkInterfaceExceededTimeLimit",
    262: "ExceededTimeLimit",
    14_031: "OutOfDiskSpace",
}

T = TypeVar("T")

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def now() -> datetime:
    """In whole milliseconds, as MongoDB stores it."""
    moment = clock.now()
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def unsent(message: Message) -> dict[str, Any]:
    """An entry of the field UNSENT."""
    return {
        "id": str(uuid4()),
        "type": message.type,
        "subject": str(message.subject),
        "data": message.data(),
        "meta": relay.meta(message.version),
        "occurred_at": clock.now().isoformat(),
    }


def ignore_duplicates(error: BulkWriteError) -> None:
    """Raises `error` if anything else failed."""
    if any(wrong["code"] != _DUPLICATE_KEY for wrong in error.details["writeErrors"]):
        raise error


class Refused(PyMongoError):
    """Not the fault of the command. Without the server's text, which may hold the command."""


@contextmanager
def commands() -> Iterator[None]:
    """Raises Refused in place of such errors, which MongoEngine wraps when it writes."""
    try:
        yield
    except (OperationFailure, mongoengine.OperationError) as error:
        cause = error if isinstance(error, OperationFailure) else error.__context__
        name = _REFUSALS.get(cause.code or 0) if isinstance(cause, OperationFailure) else None
        if name is None:
            raise
        raise Refused(name) from None


class DocumentSource:
    """Nothing locks messages: several relays may send the same one."""

    def __init__(self, collections: Sequence[str], name: str) -> None:
        self.name = name
        self._collections = collections
        self._woken = threading.Event()

    @contextmanager
    def unsent(self) -> Iterator[Batch]:
        found = [(collection, document) for collection in self._all() for document in self._waiting(collection)]
        envelopes = [self._envelope(entry) for _, document in found for entry in document[UNSENT]]
        envelopes.sort(key=lambda envelope: envelope.time)
        telemetry.OLDEST_UNSENT.set(envelopes[0].time.timestamp() if envelopes else 0)
        batch = Batch(envelopes)
        try:
            yield batch
        finally:
            sent = {str(envelope.id) for envelope in batch.sent}
            for collection, document in found:
                if gone := [entry["id"] for entry in document[UNSENT] if entry["id"] in sent]:
                    collection.update_one({"_id": document["_id"]}, {"$pull": {UNSENT: {"id": {"$in": gone}}}})

    def _all(self) -> list[Collection[Any]]:
        return [mongoengine.get_db()[name] for name in self._collections]

    def _waiting(self, collection: Collection[Any]) -> list[dict[str, Any]]:
        """Up to BATCH documents, oldest message first."""
        # Unlike `$exists`, a range skips documents that have nothing unsent.
        waiting = collection.find({OLDEST: {"$gt": ""}}, {UNSENT: 1})
        return list(waiting.sort(OLDEST, pymongo.ASCENDING).limit(relay.BATCH))

    def _envelope(self, entry: dict[str, Any]) -> Envelope:
        return Envelope(
            UUID(entry["id"]),
            self.name,
            entry["type"],
            entry["subject"],
            datetime.fromisoformat(entry["occurred_at"]),
            entry["data"],
            *relay.origin(entry["meta"]),
        )

    def wait(self, timeout_seconds: float) -> None:
        self._woken.wait(timeout_seconds)
        self._woken.clear()

    def wake(self) -> None:
        self._woken.set()


class _Durations(CommandListener):
    def started(self, event: CommandStartedEvent) -> None:
        """Only the end counts."""

    def succeeded(self, event: CommandSucceededEvent) -> None:
        metrics.QUERY_SECONDS.observe(event.duration_micros / 1e6)

    def failed(self, event: CommandFailedEvent) -> None:
        metrics.QUERY_SECONDS.observe(event.duration_micros / 1e6)


class MongoStore:
    """Messages leave from `collections`."""

    unavailable: tuple[type[Exception], ...] = (ConnectionFailure, Refused)

    def __init__(self, url: str, collections: Sequence[str], name: str) -> None:
        self.source: Source = DocumentSource(collections, name)
        self.trail: Trail = mongo_trail.MongoTrail()
        self._collections = collections
        mongoengine.connect(
            host=url,
            uuidRepresentation="standard",
            tz_aware=True,
            connect=False,
            event_listeners=[_Durations()],
            timeoutMS=OPERATION_TIMEOUT_MILLISECONDS,
            serverSelectionTimeoutMS=OPERATION_TIMEOUT_MILLISECONDS,
        )

    def migrate(self, package: ModuleType) -> None:
        """Create indexes. MongoEngine tries only once, even if the server is unavailable."""
        with pymongo.timeout(START_SECONDS):
            _ping()
        with pymongo.timeout(INDEX_TIMEOUT_SECONDS):
            for name in self._collections:
                mongoengine.get_db()[name].create_index(OLDEST, sparse=True)
            mongo_trail.ensure_indexes()
            for document in mongoengine.Document.__subclasses__():
                if document.__module__.startswith(f"{package.__name__}."):
                    document.ensure_indexes()

    def is_migrated(self, package: ModuleType) -> bool:
        """Indexes make queries fast, not possible."""
        return True

    @contextmanager
    def transaction(self) -> Iterator[None]:
        seconds = deadline.callers_remaining()
        limited = nullcontext() if seconds is None else pymongo.timeout(max(seconds, 0.001))
        with commands(), limited:
            yield

    def read(self, caller: str, work: Callable[[], T]) -> T:
        with self.transaction():
            return work()

    def note_write(self, caller: str) -> None:
        """There are no replicas."""

    def handling(self) -> AbstractContextManager[None]:
        return self.transaction()

    def first_times(self, message_ids: Iterable[UUID]) -> set[UUID]:
        return set(message_ids)

    def purge(self, before: datetime) -> bool:
        """Sent messages are removed at once."""
        return False

    def check(self) -> None:
        with pymongo.timeout(CHECK_SECONDS):
            _ping()


def _ping() -> None:
    mongoengine.get_connection().admin.command("ping")
