"""What happens when an answer does not come: it is asked for again, then given up.

Every command may be repeated: who did it before answers again. Given up, an order that is still on its way is cancelled and
undone. What undoes is never given up: the order is said to be stuck, so that somebody looks, and is asked for on and on.
"""

import time
from collections.abc import Sequence
from datetime import datetime

from prometheus_client import Gauge
from sqlalchemy import Select, func, select
from structlog import get_logger

from chassis.base import clock
from chassis.storage import postgres
from contracts.orders import OrderResumed, OrderStuck
from contracts.reasons import Reason
from services.orders import saga
from services.orders.models import Event, Order, OrderStatus, Step
from services.orders.models.steps import FORWARD, PATIENCE, command_of

log = get_logger(__name__)

EVERY_SECONDS = 2
BATCH = 100
MAX_TURN_SECONDS = 1.0
"""As long as a turn lasts its orders are locked, and the answers that they await wait too. The rest has the next turn."""

STUCK = Gauge("souk_sagas_stuck", "Orders whose undoing waits for somebody: `./souk sagas list` shows them.")
PENDING_AGE = Gauge(
    "souk_oldest_pending_order_seconds", "Age of the oldest order that is neither confirmed nor cancelled."
)


STUCK_COUNT = select(func.count()).select_from(Order).where(Order.stuck_at.is_not(None))
OLDEST_PENDING = select(func.min(Order.created_at)).where(Order.status == OrderStatus.PENDING)


def watch(now: datetime | None = None, seconds: float = MAX_TURN_SECONDS) -> None:
    """Look after orders of which an answer is late, for so long, or for one at least. Several workers share the work."""
    now = now or clock.now()
    session = postgres.session()
    until = time.monotonic() + seconds
    for order in overdue(now):
        try:
            # One that fails must not keep the others from their turn.
            with session.begin_nested():
                look_after(order, now)
        except Exception as error:  # a bug of ours, in this order's story
            log.error("order cannot be looked after", order_id=str(order.id), exc_info=error)
        if time.monotonic() >= until:
            break
    STUCK.set(session.scalar(STUCK_COUNT) or 0)
    oldest = session.scalar(OLDEST_PENDING)
    PENDING_AGE.set((now - oldest).total_seconds() if oldest is not None else 0)


def overdue(now: datetime) -> Sequence[Order]:
    """Orders with a late answer, the latest first, locked; locked ones are skipped."""
    return postgres.session().scalars(due(now).limit(BATCH).with_for_update(skip_locked=True)).all()


def due(now: datetime) -> Select[Order]:
    return select(Order).where(Order.due_at <= now).order_by(Order.due_at)


def look_after(order: Order, now: datetime) -> None:
    for key, step in order.open_steps.items():
        # What was done about one step may have ended the next.
        if step.due_at <= now and key in order.open_steps:
            _late(order, key, step, now)


def _late(order: Order, key: str, step: Step, now: datetime) -> None:
    patience = PATIENCE[command_of(key)]
    asked = Event.at(order.id, step.version)
    if asked.sent_at is None or now - asked.sent_at < patience.after(step.attempts):
        return  # The broker is away, or was: nobody has had the time to answer.
    if step.attempts < patience.times:
        order.emit(asked.message)
    elif key in FORWARD and order.status in (OrderStatus.PENDING, OrderStatus.CONFIRMED):
        log.warning("order gives up", order_id=str(order.id), step=key, attempts=step.attempts)
        saga.cancel(order, FORWARD[key])
    else:
        if order.stuck_at is None:
            log.error("order is stuck", order_id=str(order.id), step=key, attempts=step.attempts)
            order.record(OrderStuck(order.id, Reason.NO_REPLY, key))
        order.emit(asked.message)


def resume(order: Order, by: str) -> None:
    """Ask again, at once and with fresh patience, for whatever is unanswered or still owed."""
    order.record(OrderResumed(order.id, by))
    for step in order.open_steps.values():
        order.emit(Event.at(order.id, step.version).message)
    saga.undo(order)
