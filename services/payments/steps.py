"""The next provider call, with no transaction open.

Unanswered requests are looked up before they are repeated. A refusal counts only if a lookup shows no other outcome.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from contracts.reasons import Reason
from services.payments.models import Payment, Refund, RefundStatus, Status
from services.payments.providers import Charge, Provider, Refused, Repayment


def next_charge(provider: Provider, payment: Payment, was_requested: bool, quiet_since: datetime) -> Charge | None:
    """None if nothing has changed. Raises ProviderUnavailable.

    A called-off payment has no charge if none is found and it was last requested before `quiet_since`.
    """
    try:
        if payment.status != Status.PENDING:
            return _finish(provider, payment)
        found = provider.find(payment.id, payment.provider_reference) if was_requested else None
        if found is not None:
            is_left_open = found.status == Status.PENDING and payment.is_called_off
            return provider.void(payment.id, str(found.reference)) if is_left_open else found
        if not payment.is_called_off:
            return _authorize(provider, payment)
        is_quiet = payment.sent_at is None or payment.sent_at < quiet_since
        return Charge(None, Status.VOIDED) if is_quiet else None
    except Refused as refusal:
        return _refused(provider, payment, refusal.reason)


def next_refund(
    provider: Provider, refund: Refund, payment: Payment, was_requested: bool
) -> tuple[Repayment, Charge | None]:
    """With the charge if refused. Raises ProviderUnavailable."""
    charge = str(payment.provider_reference)
    found = provider.find_refund(refund.id, charge) if was_requested else None
    if found is not None:
        return found, None
    try:
        return provider.refund(refund.id, payment.id, charge, refund.amount), None
    except Refused as refusal:
        found = provider.find_refund(refund.id, charge)
        refused = Repayment(None, RefundStatus.REFUSED, refusal.reason)
        # Often the money is gone.
        return (found, None) if found is not None else (refused, provider.find(payment.id, charge))


def returned_refunds(provider: Provider, refunds: Sequence[Refund], reference: str) -> dict[UUID, Reason]:
    """Those of `refunds`, which had succeeded, that have failed since. Raises ProviderUnavailable."""
    found = {refund.id: provider.find_refund(refund.id, reference) for refund in refunds}
    failed = {id_: each for id_, each in found.items() if each is not None and each.status == RefundStatus.REFUSED}
    return {id_: each.refusal_reason or Reason.REFUND_REFUSED for id_, each in failed.items()}


def _authorize(provider: Provider, payment: Payment) -> Charge:
    terms = (payment.amount, payment.currency, payment.payment_method, payment.captures_at_once)
    return provider.authorize(payment.id, *terms)


def _finish(provider: Provider, payment: Payment) -> Charge:
    reference = str(payment.provider_reference)
    if payment.is_called_off:
        return provider.void(payment.id, reference)
    return provider.capture(payment.id, reference)


def _refused(provider: Provider, payment: Payment, reason: Reason) -> Charge:
    found = provider.find(payment.id, payment.provider_reference)
    if found is not None and found.status != payment.status:
        return found
    status = Status.DECLINED if payment.status == Status.PENDING else Status.FAILED
    return Charge(payment.provider_reference, status, reason)
