"""Nothing is left behind: what a task gave up (the provider was away for long) or what was lost on the way is taken up again."""

from datetime import datetime

from prometheus_client import Gauge

from chassis import db
from chassis.outbox import enqueue
from services.payments.models import Payment, Refund
from services.payments.outcomes import ADVANCE, REFUND

EVERY_SECONDS = 30
BATCH = 500

OVERDUE = Gauge(
    "souk_payments_overdue", "Unfinished payments and refunds that the last sweep took up, at most a batch each."
)


def sweep(now: datetime | None = None) -> None:
    """Enqueue what is overdue. Several workers share the work."""
    now = now or db.now()
    payments, refunds = Payment.overdue(now, BATCH), Refund.overdue(now, BATCH)
    for task, overdue in ((ADVANCE, payments), (REFUND, refunds)):
        for unfinished in overdue:
            unfinished.put_off(now)
            enqueue(task, unfinished.id)
    OVERDUE.set(len(payments) + len(refunds))
