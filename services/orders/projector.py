"""Brings the analytics up to date with the events, each counted once whatever happens between.

How far it has read is kept in the transaction that adds what was read, so a crash repeats nothing and skips nothing.
Positions alone cannot say how far: they are given at the insert and appear at the commit, so a lower one may appear after a
higher one was read. Events are read in the order of their transactions instead, and only those older than the oldest
transaction still running: behind that mark nothing can appear any more. The price is that a long transaction anywhere on
the server makes analytics late, never wrong.
"""

from typing import Any

from prometheus_client import Gauge
from sqlalchemy import text
from structlog import get_logger

from chassis.base import clock
from chassis.storage import postgres
from services.orders.models.analytics import COUNTED, Sums
from services.orders.models.events import read

log = get_logger(__name__)

EVERY_SECONDS = 1
BATCH = 500
MAX_BATCHES = 20
"""At a turn, so that its transaction stays short."""

LAG = Gauge(
    "souk_analytics_lag_seconds", "Age of the oldest event read at the projector's last turn, 0 if there was none."
)

_BEGIN = text("INSERT INTO projections VALUES ('analytics', '0', 0) ON CONFLICT DO NOTHING")
_PLACE = text(
    "SELECT transaction_id::text, position, transaction_id > pg_snapshot_xmax(pg_current_snapshot()) AS is_foreign"
    " FROM projections WHERE name = 'analytics' FOR UPDATE SKIP LOCKED"
)
NEXT = text(
    "SELECT transaction_id::text, position, type, occurred_at, meta, CASE WHEN type = ANY(:types) THEN data END AS data"
    " FROM events WHERE (transaction_id, position) > (CAST(:transaction_id AS xid8), :position)"
    " AND transaction_id < pg_snapshot_xmin(pg_current_snapshot())"
    " ORDER BY events.transaction_id, events.position LIMIT :limit"
)
_MARK = text(
    "UPDATE projections SET transaction_id = CAST(:transaction_id AS xid8), position = :position WHERE name = 'analytics'"
)


def project() -> None:
    """Count what was not counted yet. Of several workers one does it, the others pass."""
    postgres.session().execute(_BEGIN)
    place = postgres.session().execute(_PLACE).one_or_none()
    if place is None:
        return
    if place.is_foreign:
        # After a restore from a dump into another server transactions are numbered anew.
        log.error("the projector's place is not of this server: run ./souk orders rebuild")
        return
    lag = 0.0
    for _ in range(MAX_BATCHES):
        events = _count_after(place)
        if not events:
            break
        lag = lag or (clock.now() - events[0].occurred_at).total_seconds()
        place = events[-1]
    LAG.set(lag)


def _count_after(place: Any) -> Any:
    """Count a batch behind `place`; gives its events, the last of which is the new place."""
    session = postgres.session()
    here = {"transaction_id": place.transaction_id, "position": place.position}
    types = [message.type for message in COUNTED]
    events = session.execute(NEXT, {**here, "types": types, "limit": BATCH}).all()
    if not events:
        return events
    sums = Sums()
    for event in events:
        if event.data is not None:
            sums.count(read(event.type, event.data, event.meta), event.occurred_at)
    for statement, rows in sums.statements():
        session.execute(statement, rows)
    session.execute(_MARK, {"transaction_id": events[-1].transaction_id, "position": events[-1].position})
    return events
