"""Tasks that call the provider, with no transaction open.

They may run twice, concurrently or late: only a step's first response is recorded.
"""

from datetime import timedelta
from uuid import UUID

from structlog import get_logger

from chassis.base import clock
from chassis.run.tasks import Steps, Tasks
from chassis.storage import store
from chassis.storage.outbox import enqueue
from services.payments import external, outcomes, providers, steps
from services.payments import reconcile as reconciliation
from services.payments.external import Overtaken
from services.payments.models import Payment, Reconciliation, Refund, RefundStatus, Webhook, ledger
from services.payments.settings import Settings

log = get_logger(__name__)

LOOK_UP = "payments.look_up"
"""Books what a lost webhook would have shown."""

MAX_LISTED = 1_000

tasks = Tasks("payments")


@tasks.task(locks=Payment)
def advance(payment_id: UUID) -> Steps:
    """Raises ProviderUnavailable to be retried."""
    payment = Payment.get_for_update(payment_id)
    if not payment.is_unfinished or _timed_out(payment):
        return
    was_requested, status = payment.requested_at is not None, payment.status
    payment.begin_step()
    quiet_since = clock.now() - timedelta(seconds=Settings.current().settling_seconds)
    provider = providers.named(payment.provider)
    charge = yield lambda: steps.next_charge(provider, payment, was_requested, quiet_since)
    current = Payment.get_for_update(payment_id)
    if charge is not None and current.status == status:
        outcomes.record_charge(current, charge)


@tasks.task()
def refund(refund_id: UUID) -> None:
    """Raises ProviderUnavailable and Overtaken to be retried."""
    with store.transaction():
        refund, payment = Refund.get_for_update(refund_id)
        if not refund.is_pending:
            return
        was_requested = refund.requested_at is not None
        refund.begin_step()
        position = ledger.last_position(payment.id)
    repayment, charge = steps.next_refund(providers.named(payment.provider), refund, payment, was_requested)
    with store.transaction():
        refund, payment = Refund.get_for_update(refund_id)
        if refund.is_pending:
            if charge is not None:
                _require_unmoved(payment, position)
            outcomes.record_repayment(refund, payment, repayment, charge)


@tasks.task()
def process_webhook(webhook_id: UUID) -> None:
    """Raises ProviderUnavailable and Overtaken to be retried."""
    with store.transaction():
        webhook = Webhook.get_for_update(webhook_id)
        payment = Payment.find(webhook.payment_id) if webhook.payment_id is not None else None
    provider = providers.named(webhook.provider)
    if payment is None and webhook.reference is not None:
        reference = provider.charge_of(webhook.reference)
        with store.transaction():
            payment = Payment.find_by_reference(provider.name, reference) if reference is not None else None
    if payment is not None and payment.provider == provider.name:
        _look_up(payment.id)
        if webhook.type == provider.fraud_warning:
            external.warn_of_fraud(payment)
    else:
        log.info("webhook about no payment", provider=provider.name, type=webhook.type, event_id=webhook.event_id)
    with store.transaction():
        Webhook.get_for_update(webhook_id).processed()


@tasks.task()
def look_up(payment_id: UUID) -> None:
    """Raises ProviderUnavailable and Overtaken to be retried."""
    _look_up(payment_id)


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
        for payment_id in sorted(found.payment_ids)[:MAX_LISTED]:
            enqueue(LOOK_UP, payment_id)
    for difference in found.differences[:MAX_LISTED]:
        log.error("ledger differs from provider", provider=provider, difference=difference)


def _look_up(payment_id: UUID) -> None:
    with store.transaction():
        payment = Payment.get_for_update(payment_id)
        position, booked = ledger.last_position(payment_id), payment.sums
        refunds = Refund.of_payment(payment_id, RefundStatus.REFUNDED)
    provider = providers.named(payment.provider)
    charge = provider.find(payment.id, payment.provider_reference)
    if charge is None:
        return
    came_back = charge.gone is not None and charge.gone.refunded < booked.refunded
    returned = steps.returned_refunds(provider, refunds if came_back else [], str(charge.reference))
    with store.transaction():
        current = Payment.get_for_update(payment_id)
        if current.status != payment.status:
            raise Overtaken(f"Payment {payment_id} changed during the lookup.")
        _require_unmoved(current, position)
        outcomes.observe_charge(current, charge, returned)


def _require_unmoved(payment: Payment, position: int) -> None:
    """Raises Overtaken."""
    if ledger.last_position(payment.id) != position:
        raise Overtaken(f"Money of payment {payment.id} moved during the lookup.")


def _timed_out(payment: Payment) -> bool:
    """Also calls the payment off."""
    settings = Settings.current()
    timeouts = (settings.authorize_timeout_seconds, settings.capture_timeout_seconds)
    reason = payment.timed_out(clock.now(), *(timedelta(seconds=seconds) for seconds in timeouts))
    if reason is not None:
        outcomes.call_off(payment, reason)
    return reason is not None
