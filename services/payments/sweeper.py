"""Nothing is left behind: payments whose task gave up (the provider was away for long) or was lost are taken up again."""

from datetime import datetime

from prometheus_client import Gauge

from chassis import db
from chassis.outbox import enqueue
from services.payments.models import Payment
from services.payments.saga import ADVANCE

EVERY_SECONDS = 30
BATCH = 500

OVERDUE = Gauge("souk_payments_overdue", "Unfinished payments that the last sweep took up, at most a batch.")


def sweep(now: datetime | None = None) -> None:
    """Enqueue what is overdue. Several workers share the work."""
    now = now or db.now()
    overdue = Payment.overdue(now, BATCH)
    for payment in overdue:
        payment.put_off(now)
        enqueue(ADVANCE, payment.id)
    OVERDUE.set(len(overdue))
