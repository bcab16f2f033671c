"""The slow part: the provider is asked, with no transaction open, and its answer is kept.

One task serves every step of a payment, since a payment knows its own (`status` and `goal`). A task may run twice, at once or
late: the provider gets the same key each time, and only the first answer to a step is kept.
"""

from datetime import timedelta
from uuid import UUID

from prometheus_client import Gauge
from structlog import get_logger

from chassis.base import clock
from chassis.run.tasks import Tasks
from chassis.storage import store
from services.payments import outcomes, providers, steps
from services.payments import reconcile as reconciling
from services.payments.models import Payment, Reconciliation, Refund, Webhook
from services.payments.settings import Settings

log = get_logger(__name__)

DIFFERENCES = Gauge("souk_payments_differences", "Differences that the last reconciliation found.", ["provider"])
LISTED = 1_000
"""How many differences are kept and logged of one reconciliation: with more, something else is wrong."""

tasks = Tasks("payments")


@tasks.task()
def advance(payment_id: UUID) -> None:
    """Raises ProviderUnavailable when it is to be tried again."""
    with store.transaction():
        payment = Payment.get_for_update(payment_id)
        if not payment.is_unfinished or _is_given_up(payment):
            return
        was_asked = payment.asked_at is not None
        payment.ask()
    quiet_since = clock.now() - timedelta(seconds=Settings.current().settling_seconds)
    charge = steps.next_charge(providers.named(payment.provider), payment, was_asked, quiet_since)
    with store.transaction():
        current = Payment.get_for_update(payment_id)
        if charge is not None and current.status == payment.status:
            outcomes.charge_is(current, charge)


@tasks.task()
def refund(refund_id: UUID) -> None:
    """Raises ProviderUnavailable when it is to be tried again."""
    with store.transaction():
        refund, payment = Refund.get_for_update(refund_id)
        if not refund.is_pending:
            return
        was_asked = refund.asked_at is not None
        refund.ask()
    repayment = steps.next_refund(providers.named(payment.provider), refund, payment, was_asked)
    with store.transaction():
        refund, payment = Refund.get_for_update(refund_id)
        if refund.is_pending:
            outcomes.refund_is(refund, payment, repayment)


@tasks.task()
def heed(webhook_id: UUID) -> None:
    """Ask the provider how the charge is that a webhook told of: so it does not matter in which order webhooks come.

    Raises ProviderUnavailable, and Overtaken, when it is to be tried again.
    """
    with store.transaction():
        webhook = Webhook.get_for_update(webhook_id)
        payment = Payment.known(webhook.payment_id) if webhook.payment_id is not None else None
        if payment is None or payment.provider != webhook.provider:
            webhook.heeded()
            return
    charge = providers.named(payment.provider).find(payment.id, payment.provider_reference)
    with store.transaction():
        current = Payment.get_for_update(payment.id)
        if current.status != payment.status:
            raise Overtaken(f"The payment {payment.id} moved while the provider was asked.")
        if charge is not None:
            outcomes.learn(current, charge)
        Webhook.get_for_update(webhook_id).heeded()


@tasks.task()
def reconcile(reconciliation_id: UUID) -> None:
    """Compare our books with the provider's, and keep what differs. Raises ProviderUnavailable when it is to be tried again."""
    with store.transaction():
        provider = Reconciliation.get_for_update(reconciliation_id).provider
    until = clock.now() - reconciling.SETTLED
    found = reconciling.compare(providers.named(provider), until - timedelta(days=reconciling.DAYS), until)
    with store.transaction():
        reconciliation = Reconciliation.get_for_update(reconciliation_id)
        reconciliation.finished_at = clock.now()
        reconciliation.differences = found.differences[:LISTED]
    DIFFERENCES.labels(provider).set(len(found.differences))
    for difference in found.differences[:LISTED]:
        log.error("books differ", provider=provider, difference=difference)


class Overtaken(Exception):
    """What the provider said may be older than what is known: ask it again."""


def _is_given_up(payment: Payment) -> bool:
    """Nobody waits for a provider for ever: the order hears that it is not paid, and what the provider did is undone."""
    settings = Settings.current()
    patience = (settings.authorize_patience_seconds, settings.capture_patience_seconds)
    reason = payment.hopeless(clock.now(), *(timedelta(seconds=seconds) for seconds in patience))
    if reason is not None:
        outcomes.call_off(payment, reason)
    return reason is not None
