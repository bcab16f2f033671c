"""Adds each event to the analytics exactly once: sums and position share a transaction.

Positions become visible out of order, so events are read up to the oldest running transaction. A long one anywhere on
the server delays analytics.
"""

from typing import Any

from sqlalchemy import text
from structlog import get_logger

from chassis.base.telemetry import OwnGauge
from chassis.storage import postgres
from services.orders.models.analytics import COUNTED, Sums
from services.orders.models.events import read

log = get_logger(__name__)

EVERY_SECONDS = 1
BATCH = 500
MAX_BATCHES = 20
"""Keeps the transaction short."""

OLDEST_UNCOUNTED_AT = OwnGauge(
    "souk_analytics_oldest_uncounted_timestamp_seconds",
    "When the oldest event occurred that the projector's last run has not counted, 0 if there was none.",
)

_BEGIN = text("INSERT INTO projections VALUES ('analytics', '0', 0) ON CONFLICT DO NOTHING")
_POSITION = text(
    "SELECT transaction_id::text, position, transaction_id > pg_snapshot_xmax(pg_current_snapshot()) AS is_foreign"
    " FROM projections WHERE name = 'analytics' FOR UPDATE SKIP LOCKED"
)
NEXT = text(
    "SELECT transaction_id::text, position, type, occurred_at, meta, CASE WHEN type = ANY(:types) THEN data END AS data"
    " FROM events WHERE (transaction_id, position) > (CAST(:transaction_id AS xid8), :position)"
    " AND transaction_id < pg_snapshot_xmin(pg_current_snapshot())"
    " ORDER BY events.transaction_id, events.position LIMIT :limit"
)
_OLDEST = text(
    "SELECT occurred_at FROM events WHERE (transaction_id, position) > (CAST(:transaction_id AS xid8), :position)"
    " ORDER BY events.transaction_id, events.position LIMIT 1"
)
"""Also one that a running transaction blocks."""

_MARK = text(
    "UPDATE projections SET transaction_id = CAST(:transaction_id AS xid8), position = :position WHERE name = 'analytics'"
)


def project() -> None:
    """One worker at a time."""
    postgres.session().execute(_BEGIN)
    position = postgres.session().execute(_POSITION).one_or_none()
    if position is None:
        return
    if position.is_foreign:
        # A dump restored elsewhere starts a new transaction numbering.
        log.error("projector position is from another server: run ./souk orders rebuild")
        return
    for _ in range(MAX_BATCHES):
        events = _count_after(position)
        if not events:
            break
        position = events[-1]
    after = {"transaction_id": position.transaction_id, "position": position.position}
    oldest = postgres.session().scalar(_OLDEST, after)
    OLDEST_UNCOUNTED_AT.set(oldest.timestamp() if oldest is not None else 0)


def _count_after(position: Any) -> Any:
    session = postgres.session()
    after = {"transaction_id": position.transaction_id, "position": position.position}
    types = [message.type for message in COUNTED]
    events = session.execute(NEXT, {**after, "types": types, "limit": BATCH}).all()
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
