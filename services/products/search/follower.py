"""Keeps the index up to date with the database.

Reads recent changes with an overlap, as writes may arrive out of order. An identity in `catalogue` reveals a new or
emptied database.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import mongoengine
from pymongo.collection import Collection
from structlog import get_logger

from chassis.base.clock import LEEWAY
from chassis.base.problems import Unavailable
from chassis.storage import mongo
from services.products.models.product import SHELVES
from services.products.search.index import Entry, Index, clear, set_state, upsert

log = get_logger(__name__)

MAX_LAG_SECONDS = 1.0
"""For other processes' writes."""

OVERLAP = timedelta(milliseconds=mongo.OPERATION_TIMEOUT_MILLISECONDS) + LEEWAY
"""A change appears when its operation ends, by its process's clock."""

MAX_AT_ONCE = timedelta(minutes=10)
"""More is read shelf by shelf, as it may not fit into memory."""

BUILD_TIMEOUT_SECONDS = 1.0

SAMPLE_SHELVES = 4

SMALL = 5_000

_NAMES = "sku name description category price stock_quantity sold_quantity is_active version created_at"
FIELDS = dict.fromkeys(_NAMES.split(), 1)

NEVER = datetime.fromtimestamp(0, UTC)


class Follower:
    """Shared by threads and processes, one at a time."""

    def __init__(self, index: Index, now: Callable[[], datetime] = mongo.now, small: int = SMALL) -> None:
        self._index = index
        self._now = now
        self._small = small
        self._lock = threading.Lock()
        self._looked = float("-inf")
        self._building: threading.Thread | None = None

    def catch_up(self, is_changed: bool = False) -> None:
        """Raises Unavailable while building a large index."""
        started = time.monotonic()
        if not is_changed and started - self._looked < MAX_LAG_SECONDS:
            return
        with self._lock:
            if self._looked < started and not self._is_building():
                looked = time.monotonic()
                try:
                    self._look()
                except sqlite3.OperationalError as error:
                    # On a full disk an older index is better than none.
                    if not self._index.state("seen"):
                        raise Unavailable("The search index cannot be written.") from error
                    log.warning("search index not updated", error=str(error))
                self._looked = looked
        self._wait_for_building()

    def _look(self) -> None:
        identity, now = _identity(), self._now()
        if self._index.state("identity") != identity:
            with self._index.writing() as writer:
                clear(writer)
                set_state(writer, identity=identity)
        seen = self._index.state("seen")
        since = datetime.fromisoformat(seen) - OVERLAP if seen else NEVER
        if now - since < MAX_AT_ONCE or _is_small(self._small):
            self._read({"updated_at": {"$gte": since}}, seen=now.isoformat(), shelf=0, begun="")
        else:
            self._building = threading.Thread(target=self._build, args=(since, now), name="index", daemon=True)
            self._building.start()

    def _is_building(self) -> bool:
        return self._building is not None and self._building.is_alive()

    def _wait_for_building(self) -> None:
        if self._building is not None:
            self._building.join(timeout=BUILD_TIMEOUT_SECONDS)
            if self._building.is_alive():
                percent = int(self._index.state("shelf") or 0) * 100 // SHELVES
                raise Unavailable(f"The search index is being built: {percent} %.", retry_after_seconds=5)

    def _build(self, since: datetime, now: datetime) -> None:
        started = time.monotonic()
        # An interrupted build continues, then catches up from its beginning.
        begun = self._index.state("begun") or now.isoformat()
        for shelf in range(int(self._index.state("shelf") or 0), SHELVES):
            self._read({"shelf": shelf, "updated_at": {"$gte": since}}, shelf=shelf + 1, begun=begun)
        with self._index.writing() as writer:
            set_state(writer, seen=begun, shelf=0, begun="")
        log.info("search index built", seconds=round(time.monotonic() - started, 1))

    def _read(self, condition: dict[str, Any], **state: Any) -> None:
        entries = _entries(_products().find(condition, FIELDS))
        with self._index.writing() as writer:
            upsert(writer, entries)
            set_state(writer, **state)


def _entries(documents: Iterable[dict[str, Any]]) -> list[Entry]:
    return [Entry.of(document) for document in documents]


def _is_small(limit: int) -> bool:
    expected = limit * SAMPLE_SHELVES // SHELVES
    sample = _products().find({"shelf": {"$in": list(range(SAMPLE_SHELVES))}}, {"_id": 1})
    return len(list(sample.limit(expected + 1))) <= expected


def _products() -> "Collection[Any]":
    return mongoengine.get_db()["products"]


def _identity() -> str:
    marks: Collection[Any] = mongoengine.get_db()["catalogue"]
    found = marks.find_one({"_id": "catalogue"})
    if found is None:
        marks.update_one({"_id": "catalogue"}, {"$setOnInsert": {"identity": str(uuid4())}}, upsert=True)
        found = marks.find_one({"_id": "catalogue"})
        assert found is not None
    return str(found["identity"])
