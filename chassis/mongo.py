"""MongoDB as a store: a document carries its own unsent messages, so that one atomic update keeps both.

MongoEngine gives no session over several documents. What a message handler does is therefore idempotent by itself
(the document remembers the order), and there is no inbox to ask.
"""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import mongoengine
from pymongo.collection import Collection

from chassis import db, outbox, telemetry
from chassis.messages import Envelope, Message
from chassis.outbox import Source

UNSENT = "unsent"
"""The field in which a document carries its unsent messages."""


def unsent(message: Message) -> dict[str, Any]:
    """`message` as an entry of a document's unsent messages."""
    return {
        "id": str(uuid4()),
        "type": message.type,
        "subject": str(message.subject),
        "data": message.data(),
        "meta": outbox.meta(),
        "occurred_at": db.now().isoformat(),
    }


class DocumentSource:
    """Unsent messages inside the documents of one collection."""

    def __init__(self, collection: str, name: str) -> None:
        self.name = name
        self._collection = collection
        self._woken = threading.Event()

    @contextmanager
    def unsent(self) -> Iterator[list[Envelope]]:
        collection: Collection[Any] = mongoengine.get_db()[self._collection]
        found = list(collection.find({f"{UNSENT}.0": {"$exists": True}}, {UNSENT: 1}).limit(outbox.BATCH))
        envelopes = [self._envelope(entry) for document in found for entry in document[UNSENT]]
        oldest = min((envelope.time for envelope in envelopes), default=None)
        telemetry.OUTBOX_AGE.set((db.now() - oldest).total_seconds() if oldest else 0)
        yield envelopes
        for document in found:
            sent = [entry["id"] for entry in document[UNSENT]]
            collection.update_one({"_id": document["_id"]}, {"$pull": {UNSENT: {"id": {"$in": sent}}}})

    def _envelope(self, entry: dict[str, Any]) -> Envelope:
        return Envelope(
            UUID(entry["id"]),
            self.name,
            entry["type"],
            entry["subject"],
            datetime.fromisoformat(entry["occurred_at"]),
            entry["data"],
            entry["meta"].get("traceparent", ""),
        )

    def wait(self, timeout_seconds: float) -> None:
        self._woken.wait(timeout_seconds)
        self._woken.clear()

    def wake(self) -> None:
        self._woken.set()


class MongoStore:
    """One MongoDB database whose messages leave from `collection`."""

    def __init__(self, url: str, collection: str, name: str) -> None:
        self.source: Source = DocumentSource(collection, name)
        # pymongo connects in the background and at first use, not here.
        mongoengine.connect(host=url, uuidRepresentation="standard", serverSelectionTimeoutMS=3_000, tz_aware=True)

    def transaction(self) -> AbstractContextManager[None]:
        return nullcontext()

    def first_time(self, message_id: UUID) -> bool:
        return True

    def check(self) -> None:
        mongoengine.get_connection().admin.command("ping")
