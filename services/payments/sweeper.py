"""Picks up work that tasks gave up or lost."""

from datetime import datetime

from prometheus_client import Gauge
from sqlalchemy import func, select

from chassis.base import clock
from chassis.base.telemetry import OwnGauge
from chassis.storage import postgres
from chassis.storage.outbox import enqueue
from services.payments import providers
from services.payments.models import Payment, Reconciliation, Refund, Webhook, ledger
from services.payments.outcomes import ADVANCE, PROCESS_WEBHOOK, REFUND

EVERY_SECONDS = 30
BATCH = 500

RECONCILE = "payments.reconcile"

OVERDUE = OwnGauge(
    "souk_payments_overdue",
    "Unfinished payments, refunds and webhooks that the last sweep picked up, at most a batch each.",
)
OLDEST_UNFINISHED_AT = OwnGauge(
    "souk_payments_oldest_unfinished_timestamp_seconds",
    "When the payment, refund or webhook that has waited longest last changed, 0 if none is unfinished.",
)
DISPUTED = OwnGauge("souk_payments_disputed", "Payments with money withheld in a dispute.")
DIFFERENCES = Gauge(
    "souk_payments_differences", "Differences listed by the last reconciliation with a provider.", ["provider"]
)


def sweep(now: datetime | None = None) -> None:
    now = now or clock.now()
    count = 0
    for task, model in ((ADVANCE, Payment), (REFUND, Refund), (PROCESS_WEBHOOK, Webhook)):
        for unfinished in model.overdue(now, BATCH):
            unfinished.postpone(now)
            enqueue(task, unfinished.id)
            count += 1
    OVERDUE.set(count)
    OLDEST_UNFINISHED_AT.set(oldest_unfinished())
    DISPUTED.set(ledger.open_disputes())
    for provider, count in Reconciliation.latest_differences().items():
        DIFFERENCES.labels(provider).set(count)


def oldest_unfinished() -> float:
    columns = (
        (Payment.updated_at, Payment.due_at),
        (Refund.updated_at, Refund.due_at),
        (Webhook.received_at, Webhook.due_at),
    )
    session = postgres.session()
    found = [session.scalar(select(func.min(changed)).where(due.is_not(None))) for changed, due in columns]
    return min((each.timestamp() for each in found if each is not None), default=0)


def reconcile_daily() -> None:
    """In the first worker of the day."""
    today = Reconciliation.of_today(providers.default())
    if today is not None:
        enqueue(RECONCILE, today)
