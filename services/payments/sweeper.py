"""Nothing is left behind: what a task gave up (the provider was away for long) or what was lost on the way is taken up again."""

from datetime import datetime

from prometheus_client import Gauge

from chassis.base import clock
from chassis.storage.outbox import enqueue
from services.payments import providers
from services.payments.models import Payment, Reconciliation, Refund, Webhook
from services.payments.outcomes import ADVANCE, HEED, REFUND

EVERY_SECONDS = 30
BATCH = 500

RECONCILE = "payments.reconcile"
"""The task that compares our books with the provider's."""

OVERDUE = Gauge(
    "souk_payments_overdue",
    "Unfinished payments, refunds and webhooks that the last sweep took up, at most a batch each.",
)


def sweep(now: datetime | None = None) -> None:
    """Enqueue what is overdue. Several workers share the work."""
    now = now or clock.now()
    count = 0
    for task, rows in ((ADVANCE, Payment), (REFUND, Refund), (HEED, Webhook)):
        for unfinished in rows.overdue(now, BATCH):
            unfinished.put_off(now)
            enqueue(task, unfinished.id)
            count += 1
    OVERDUE.set(count)


def reconcile_daily() -> None:
    """Once a day, whoever of several workers comes first."""
    today = Reconciliation.of_today(providers.default())
    if today is not None:
        enqueue(RECONCILE, today)
