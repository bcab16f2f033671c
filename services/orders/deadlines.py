"""Late replies: repeat the command, then fail the step. A compensation never fails: its order is marked as stuck."""

import time
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from prometheus_client import Counter
from sqlalchemy import Select, func, select
from structlog import get_logger

from chassis.base import clock
from chassis.base.telemetry import OwnGauge
from chassis.storage import postgres
from contracts.orders import OrderResumed, OrderStuck
from contracts.reasons import Reason
from services.orders import saga
from services.orders.models import Event, Order, OrderStatus, Step
from services.orders.models.steps import FORWARD, RETRY_POLICIES, command_of
from services.orders.settings import Settings
from services.orders.sharding.shards import is_refusal

log = get_logger(__name__)

EVERY_SECONDS = 2
BATCH = 100
MAX_RUN_SECONDS = 1.0
"""A run locks its orders, which delays their replies."""

STUCK = OwnGauge("souk_sagas_stuck", "Orders that need an operator: `./souk sagas list` shows them.")
OLDEST_PENDING_AT = OwnGauge(
    "souk_oldest_pending_order_timestamp_seconds",
    "When the oldest order was placed that is neither confirmed nor cancelled, 0 if there is none.",
)
REMINDERS = Counter("souk_deadline_reminders_total", "Commands repeated because their reply was late.", ["command"])

STUCK_COUNT = select(func.count()).select_from(Order).where(Order.stuck_at.is_not(None))
OLDEST_PENDING = select(func.min(Order.created_at)).where(Order.status == OrderStatus.PENDING)


def watch(now: datetime | None = None, seconds: float = MAX_RUN_SECONDS) -> None:
    now = now or clock.now()
    late = now - clock.LEEWAY - timedelta(seconds=Settings.current().reply_grace_seconds)
    session = postgres.session()
    stop_at = time.monotonic() + seconds
    away: set[UUID] = set()
    for order in _overdue_here(late, away):
        try:
            # One order's error must not hold up the others.
            with session.begin_nested():
                process_late(order, late)
        except Exception as error:
            if is_refusal(error):
                away.add(order.user_id)
            else:
                log.error("order deadline failed", order_id=str(order.id), exc_info=error)
        if time.monotonic() >= stop_at:
            break
    STUCK.set(session.scalar(STUCK_COUNT) or 0)
    oldest = session.scalar(OLDEST_PENDING)
    OLDEST_PENDING_AT.set(oldest.timestamp() if oldest is not None else 0)


def _overdue_here(now: datetime, away: set[UUID]) -> Iterator[Order]:
    """Each once. away: users on their way to another shard, found meanwhile: their orders give way to others, and wait for it."""
    seen: set[UUID] = set()
    while True:
        known = len(away)
        for order in overdue(now, away):
            if order.id not in seen and order.user_id not in away:
                seen.add(order.id)
                yield order
        if len(away) == known:
            return


def overdue(now: datetime, without_users: Collection[UUID] = ()) -> Sequence[Order]:
    """Most overdue first, locked; skips locked ones."""
    orders = due(now).where(Order.user_id.not_in(without_users)) if without_users else due(now)
    return postgres.session().scalars(orders.limit(BATCH).with_for_update(skip_locked=True)).all()


def due(now: datetime) -> Select[Order]:
    return select(Order).where(Order.due_at <= now).order_by(Order.due_at)


def process_late(order: Order, now: datetime) -> None:
    for key, step in order.open_steps.items():
        if step.due_at <= now:
            _late(order, key, step, now)


def _late(order: Order, key: str, step: Step, now: datetime) -> None:
    policy = RETRY_POLICIES[command_of(key)]
    request = Event.at(order.id, step.version)
    if request.sent_at is None or now - request.sent_at < policy.after(step.attempts):
        return  # Sent late: allow time for the reply.
    if step.attempts < policy.times:
        _remind(order, request)
    elif key in FORWARD and order.status in (OrderStatus.PENDING, OrderStatus.CONFIRMED):
        log.warning("order step failed", order_id=str(order.id), step=key, attempts=step.attempts)
        saga.cancel(order, FORWARD[key])
    else:
        if order.stuck_at is None:
            log.error("order is stuck", order_id=str(order.id), step=key, attempts=step.attempts)
            order.record(OrderStuck(order.id, Reason.NO_REPLY, key))
        _remind(order, request)


def _remind(order: Order, request: Event) -> None:
    order.emit(request.message)
    postgres.after_commit(REMINDERS.labels(request.type).inc)


def resume(order: Order, by: str) -> None:
    order.record(OrderResumed(order.id, by))
    for step in order.open_steps.values():
        order.emit(Event.at(order.id, step.version).message)
    saga.undo(order)
