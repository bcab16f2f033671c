"""MongoDB as a store: a document carries its own unsent messages, so that one atomic update keeps both.

MongoEngine gives no session over several documents. What a message handler does is therefore idempotent by itself
(the document remembers the order), and there is no inbox to ask.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from types import ModuleType
from typing import Any
from uuid import UUID, uuid4

import mongoengine
import pymongo
from pymongo.collection import Collection
from pymongo.errors import ConnectionFailure, ExecutionTimeout

from chassis.base import clock, deadline, telemetry
from chassis.messaging import relay
from chassis.messaging.envelope import Envelope
from chassis.messaging.message import Message
from chassis.messaging.relay import Batch, Source

UNSENT = "unsent"
"""The field in which a document carries its unsent messages."""

OLDEST = f"{UNSENT}.occurred_at"

OPERATION_TIMEOUT_MILLISECONDS = 3_000
"""Longest that one operation may take, with finding the server, connecting and retrying."""

CHECK_SECONDS = 1.5
"""Longest that a probe of readiness waits for an answer: less than who probes waits for ours."""

INDEX_TIMEOUT_SECONDS = 600

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
"""Earlier than all that is kept."""


def now() -> datetime:
    """This moment as MongoDB keeps it: in whole milliseconds."""
    moment = clock.now()
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def unsent(message: Message) -> dict[str, Any]:
    """`message` as an entry of a document's unsent messages."""
    return {
        "id": str(uuid4()),
        "type": message.type,
        "subject": str(message.subject),
        "data": message.data(),
        "meta": relay.meta(message.version),
        "occurred_at": clock.now().isoformat(),
    }


class DocumentSource:
    """Unsent messages inside the documents of some collections.

    Nothing holds them for one relay: where several relays run, a message may be sent by each of them.
    """

    def __init__(self, collections: Sequence[str], name: str) -> None:
        self.name = name
        self._collections = collections
        self._woken = threading.Event()

    @contextmanager
    def unsent(self) -> Iterator[Batch]:
        found = [(collection, document) for collection in self._all() for document in self._waiting(collection)]
        envelopes = [self._envelope(entry) for _, document in found for entry in document[UNSENT]]
        envelopes.sort(key=lambda envelope: envelope.time)
        telemetry.OUTBOX_AGE.set((clock.now() - envelopes[0].time).total_seconds() if envelopes else 0)
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
        """Up to BATCH documents of which something is unsent, by the oldest of it."""
        # A range of texts, and not `$exists`, is what an index gives without looking at documents that have none unsent.
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
            entry["meta"].get("traceparent", ""),
            relay.version(entry["meta"]),
        )

    def wait(self, timeout_seconds: float) -> None:
        self._woken.wait(timeout_seconds)
        self._woken.clear()

    def wake(self) -> None:
        self._woken.set()


class MongoStore:
    """One MongoDB database whose messages leave from `collections`."""

    unavailable: tuple[type[Exception], ...] = (ConnectionFailure, ExecutionTimeout)

    def __init__(self, url: str, collections: Sequence[str], name: str) -> None:
        self.source: Source = DocumentSource(collections, name)
        self._collections = collections
        # pymongo connects in the background and at first use, not here.
        mongoengine.connect(
            host=url,
            uuidRepresentation="standard",
            tz_aware=True,
            # Connecting is for the first use, not for making the store.
            connect=False,
            timeoutMS=OPERATION_TIMEOUT_MILLISECONDS,
            serverSelectionTimeoutMS=OPERATION_TIMEOUT_MILLISECONDS,
        )

    def migrate(self, package: ModuleType) -> None:
        """Create the indexes that the documents of `package` declare, and the one that finds unsent messages.

        Done here and nowhere else: MongoEngine's own way, at a document's first use, is not tried again in a process
        that started while the server was away.
        """
        self.check()
        with pymongo.timeout(INDEX_TIMEOUT_SECONDS):
            for name in self._collections:
                mongoengine.get_db()[name].create_index(OLDEST, sparse=True)
            for document in mongoengine.Document.__subclasses__():
                if document.__module__.startswith(f"{package.__name__}."):
                    document.ensure_indexes()

    def transaction(self) -> AbstractContextManager[None]:
        # No operation goes on when the one who called us has given up.
        seconds = deadline.callers_remaining()
        return nullcontext() if seconds is None else pymongo.timeout(max(seconds, 0.001))

    def first_time(self, message_id: UUID) -> bool:
        return True

    def purge(self, before: datetime) -> None:
        """Nothing to do: what is sent is taken out of its document at once."""

    def check(self) -> None:
        with pymongo.timeout(CHECK_SECONDS):
            mongoengine.get_connection().admin.command("ping")
