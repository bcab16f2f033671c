"""Tasks that call the provider, with no transaction open, and record its response.

`advance` does whichever step of a payment is next. Tasks may run twice, concurrently or late: the provider gets the same
idempotency key each time, and only the first response to a step is recorded.
"""

from datetime import timedelta
from uuid import UUID

from prometheus_client import Gauge
from structlog import get_logger

from chassis.base import clock
from chassis.run.tasks import Tasks
from chassis.storage import store
from services.payments import outcomes, providers, steps
from services.payments import reconcile as reconciliation
from services.payments.models import Payment, Reconciliation, Refund, Webhook
from services.payments.settings import Settings

log = get_logger(__name__)

DIFFERENCES = Gauge("souk_payments_differences", "Differences found by the last reconciliation.", ["provider"])
MAX_LISTED = 1_000
"""Differences recorded and logged for one reconciliation."""

tasks = Tasks("payments")


@tasks.task()
def advance(payment_id: UUID) -> None:
    """Raises ProviderUnavailable to be retried."""
    with store.transaction():
        payment = Payment.get_for_update(payment_id)
        if not payment.is_unfinished or _timed_out(payment):
            return
        was_requested = payment.requested_at is not None
        payment.begin_step()
    quiet_since = clock.now() - timedelta(seconds=Settings.current().settling_seconds)
    charge = steps.next_charge(providers.named(payment.provider), payment, was_requested, quiet_since)
    with store.transaction():
        current = Payment.get_for_update(payment_id)
        if charge is not None and current.status == payment.status:
            outcomes.record_charge(current, charge)


@tasks.task()
def refund(refund_id: UUID) -> None:
    """Raises ProviderUnavailable to be retried."""
    with store.transaction():
        refund, payment = Refund.get_for_update(refund_id)
        if not refund.is_pending:
            return
        was_requested = refund.requested_at is not None
        refund.begin_step()
    repayment = steps.next_refund(providers.named(payment.provider), refund, payment, was_requested)
    with store.transaction():
        refund, payment = Refund.get_for_update(refund_id)
        if refund.is_pending:
            outcomes.record_repayment(refund, payment, repayment)


@tasks.task()
def process_webhook(webhook_id: UUID) -> None:
    """Look up the charge that a webhook is about. Raises ProviderUnavailable and Overtaken to be retried."""
    with store.transaction():
        webhook = Webhook.get_for_update(webhook_id)
        payment = Payment.find(webhook.payment_id) if webhook.payment_id is not None else None
        if payment is None or payment.provider != webhook.provider:
            webhook.processed()
            return
    charge = providers.named(payment.provider).find(payment.id, payment.provider_reference)
    with store.transaction():
        current = Payment.get_for_update(payment.id)
        if current.status != payment.status:
            raise Overtaken(f"Payment {payment.id} changed during the lookup.")
        if charge is not None:
            outcomes.observe_charge(current, charge)
        Webhook.get_for_update(webhook_id).processed()


@tasks.task()
def reconcile(reconciliation_id: UUID) -> None:
    """Raises ProviderUnavailable to be retried."""
    with store.transaction():
        provider = Reconciliation.get_for_update(reconciliation_id).provider
    until = clock.now() - reconciliation.SETTLED
    found = reconciliation.compare(providers.named(provider), until - timedelta(days=reconciliation.DAYS), until)
    with store.transaction():
        row = Reconciliation.get_for_update(reconciliation_id)
        row.finished_at = clock.now()
        row.differences = found.differences[:MAX_LISTED]
    DIFFERENCES.labels(provider).set(len(found.differences))
    for difference in found.differences[:MAX_LISTED]:
        log.error("ledger differs from provider", provider=provider, difference=difference)


class Overtaken(Exception):
    """The response may be older than what is recorded."""


def _timed_out(payment: Payment) -> bool:
    """Call the payment off if the provider has left it open for too long."""
    settings = Settings.current()
    timeouts = (settings.authorize_timeout_seconds, settings.capture_timeout_seconds)
    reason = payment.timed_out(clock.now(), *(timedelta(seconds=seconds) for seconds in timeouts))
    if reason is not None:
        outcomes.call_off(payment, reason)
    return reason is not None
