"""How the index in a file comes to know what was written into the database.

It asks for what was changed since it asked last, with an overlap: a write takes its time before it is sent, and may
arrive later than a younger one. A `catalogue` document with a random identity tells a new or emptied database.
"""

import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import mongoengine
from pymongo.collection import Collection
from structlog import get_logger

from chassis.base.problems import Unavailable
from chassis.storage import mongo
from services.products.finding.index import Entry, Index, clear, keep, remember
from services.products.models.product import SHELVES

log = get_logger(__name__)

BEHIND_SECONDS = 1.0
"""Longest that a list or a search goes without looking for what other processes wrote."""

OVERLAP = timedelta(milliseconds=mongo.OPERATION_TIMEOUT_MILLISECONDS) + timedelta(seconds=2)
"""A write is sent at most so long after its time was taken; two seconds for clocks that differ."""

AT_ONCE = timedelta(minutes=10)
"""What was written in longer than this is read shelf by shelf, as it may be more than fits into memory."""

PATIENCE_SECONDS = 1.0

SAMPLE = 4
"""Shelves whose products are counted to guess how many there are: the server would look at every document to know."""

SMALL = 5_000
"""Products that are read in one go."""

_NAMES = "sku name description category price stock_quantity sold_quantity is_active version created_at"
FIELDS = dict.fromkeys(_NAMES.split(), 1)
"""What the index is made of."""

NEVER = datetime.fromtimestamp(0, UTC)


class Follower:
    """Keeps one index behind one database. Any thread of any process may do it; one at a time does."""

    def __init__(self, index: Index, now: Callable[[], datetime] = mongo.now, small: int = SMALL) -> None:
        self._index = index
        self._now = now
        self._small = small
        self._lock = threading.Lock()
        self._looked = float("-inf")
        self._building: threading.Thread | None = None

    def catch_up(self, is_changed: bool = False) -> None:
        """Look for what was written, if the last look is too long ago or something surely was changed.

        Raises Unavailable while a large index is built, which a thread does meanwhile.
        """
        asked = time.monotonic()
        if not is_changed and asked - self._looked < BEHIND_SECONDS:
            return
        with self._lock:
            # Who waited here for another's look has what it was after.
            if self._looked < asked and not self._is_building():
                started = time.monotonic()
                self._look()
                self._looked = started
        self._wait_for_building()

    def _look(self) -> None:
        identity, now = _identity(), self._now()
        if self._index.state("identity") != identity:
            with self._index.writing() as writer:
                clear(writer)
                remember(writer, identity=identity)
        seen = self._index.state("seen")
        since = datetime.fromisoformat(seen) - OVERLAP if seen else NEVER
        if now - since < AT_ONCE or _is_small(self._small):
            self._read({"updated_at": {"$gte": since}}, seen=now.isoformat(), shelf=0, begun="")
        else:
            self._building = threading.Thread(target=self._walk, args=(since, now), name="index", daemon=True)
            self._building.start()

    def _is_building(self) -> bool:
        return self._building is not None and self._building.is_alive()

    def _wait_for_building(self) -> None:
        """A shop that slept for long is up to date within a moment; only a first building takes longer."""
        if self._building is not None:
            self._building.join(timeout=PATIENCE_SECONDS)
            if self._building.is_alive():
                percent = int(self._index.state("shelf") or 0) * 100 // SHELVES
                raise Unavailable(f"The search index is being built: {percent} %.", retry_after_seconds=5)

    def _walk(self, since: datetime, now: datetime) -> None:
        started = time.monotonic()
        # What stopped in the middle goes on there, with what was written since it began.
        begun = self._index.state("begun") or now.isoformat()
        for shelf in range(int(self._index.state("shelf") or 0), SHELVES):
            self._read({"shelf": shelf, "updated_at": {"$gte": since}}, shelf=shelf + 1, begun=begun)
        with self._index.writing() as writer:
            remember(writer, seen=begun, shelf=0, begun="")
        log.info("search index built", seconds=round(time.monotonic() - started, 1))

    def _read(self, condition: dict[str, Any], **state: Any) -> None:
        entries = _entries(_products().find(condition, FIELDS))
        with self._index.writing() as writer:
            keep(writer, entries)
            remember(writer, **state)


def _entries(documents: Iterable[dict[str, Any]]) -> list[Entry]:
    return [Entry.of(document) for document in documents]


def _is_small(most: int) -> bool:
    expected = most * SAMPLE // SHELVES
    sample = _products().find({"shelf": {"$in": list(range(SAMPLE))}}, {"_id": 1})
    return len(list(sample.limit(expected + 1))) <= expected


def _products() -> "Collection[Any]":
    return mongoengine.get_db()["products"]


def _identity() -> str:
    """The mark of this database's catalogue, set by whoever asks first."""
    marks: Collection[Any] = mongoengine.get_db()["catalogue"]
    known = marks.find_one({"_id": "catalogue"})
    if known is None:
        marks.update_one({"_id": "catalogue"}, {"$setOnInsert": {"identity": str(uuid4())}}, upsert=True)
        known = marks.find_one({"_id": "catalogue"})
        assert known is not None
    return str(known["identity"])
