"""The Stripe adapter: one PaymentIntent per payment, found by its metadata.

The library takes 35 MB and is imported when first needed.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field, ValidationError

from chassis.base import tracing
from contracts.reasons import Reason
from services.payments.models import RefundStatus, Status
from services.payments.providers.interface import (
    Charge,
    Event,
    Gone,
    ProviderUnavailable,
    Refused,
    Repayment,
    Reported,
    payment_id_of,
    read_event,
    reason_of,
)
from services.payments.providers.signature import verify
from services.payments.settings import Settings

if TYPE_CHECKING:
    from stripe import StripeClient

CONNECT_TIMEOUT_SECONDS = 2.0
PAGE = 100
EXPANDED = ["latest_charge.refunds"]
EXPANDED_IN_LIST = [f"data.{path}" for path in EXPANDED]

_STATUSES = {
    "requires_payment_method": Status.DECLINED,
    "requires_confirmation": Status.PENDING,
    "requires_action": Status.PENDING,
    "processing": Status.PENDING,
    "requires_capture": Status.AUTHORIZED,
    "succeeded": Status.CAPTURED,
    "canceled": Status.VOIDED,
}
_REFUND_STATUSES = {
    "succeeded": RefundStatus.REFUNDED,
    "failed": RefundStatus.REFUSED,
    "canceled": RefundStatus.REFUSED,
}
_DECLINES = {
    "authentication_required": Reason.NOT_CONFIRMED_IN_TIME,
    "card_velocity_exceeded": Reason.LIMIT_EXCEEDED,
    "fraudulent": Reason.FRAUD_SUSPECTED,
    "invalid_cvc": Reason.INCORRECT_CVC,
    "merchant_blacklist": Reason.FRAUD_SUSPECTED,
    "payment_intent_authentication_failure": Reason.NOT_CONFIRMED_IN_TIME,
    "pickup_card": Reason.STOLEN_CARD,
    "withdrawal_count_limit_exceeded": Reason.LIMIT_EXCEEDED,
}
"""Named differently here: https://docs.stripe.com/declines/codes."""

_REFUND_FAILURES = {
    "insufficient_funds": Reason.REFUND_REFUSED,
    "lost_or_stolen_card": Reason.REFUND_TO_LOST_CARD,
}
"""Refunds take the shop's funds."""

_OPEN = ("needs_response", "under_review")
_LOST = ("lost",)
"""Inquiries ("warning_...") withhold no money."""

_OUR_FIELDS = ("amount", "currency", "payment_method")


class StripeProvider:
    name = "stripe"
    signature_header = "Stripe-Signature"
    fraud_warning = "radar.early_fraud_warning.created"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def authorize(self, payment_id: UUID, amount: int, currency: str, method: str, capture: bool) -> Charge:
        returning = {"return_url": self._settings.stripe_return_url} if self._settings.stripe_return_url else {}
        params = {
            "amount": amount,
            "currency": currency.lower(),
            "payment_method": method,
            "payment_method_types": ["card"],
            "capture_method": "automatic" if capture else "manual",
            "confirm": True,
            "metadata": {"payment_id": str(payment_id)},
            **returning,
        }
        try:
            with _errors_translated():
                options = {"idempotency_key": str(payment_id)}
                return _intent(self._intents.create(params, options)).charge()
        except _Declined as declined:
            return Charge(declined.reference, Status.DECLINED, declined.reason)

    # No idempotency key: Stripe would replay failures for a day, and neither can be done twice.

    def capture(self, payment_id: UUID, reference: str) -> Charge:
        with _errors_translated():
            return _intent(self._intents.capture(reference)).charge()

    def void(self, payment_id: UUID, reference: str) -> Charge:
        with _errors_translated():
            return _intent(self._intents.cancel(reference)).charge()

    def find(self, payment_id: UUID, reference: str | None) -> Charge | None:
        """Without `reference` by search, which lags by about a minute."""
        with _lookup():
            if reference is not None:
                return self._charge(self._intents.retrieve(reference, {"expand": EXPANDED}))
            query = f'metadata["payment_id"]:"{payment_id}"'
            found = self._intents.search({"query": query, "limit": 1, "expand": EXPANDED_IN_LIST}).data
            return self._charge(found[0]) if found else None

    def _charge(self, response: Any) -> Charge:
        intent = _intent(response)
        return replace(intent.charge(), gone=self._gone(intent))

    def _gone(self, intent: "_Intent") -> Gone:
        """Disputes are listed separately."""
        latest = intent.latest_charge if isinstance(intent.latest_charge, _LatestCharge) else _LatestCharge()
        disputes = self.disputes(intent.id) if latest.disputed else []
        sums = (sum(each.amount for each in disputes if each.status in chosen) for chosen in (_OPEN, _LOST))
        return Gone(latest.refunded, *sums)

    def disputes(self, reference: str) -> list["_Dispute"]:
        listed = self._client.v1.disputes.list({"payment_intent": reference, "limit": PAGE})
        return [_Dispute.model_validate(_content(dispute)) for dispute in listed.auto_paging_iter()]

    def refund(self, refund_id: UUID, payment_id: UUID, reference: str, amount: int) -> Repayment:
        metadata = {"refund_id": str(refund_id), "payment_id": str(payment_id)}
        params = {"payment_intent": reference, "amount": amount, "metadata": metadata}
        with _errors_translated():
            options = {"idempotency_key": str(refund_id)}
            return _refund(self._refunds.create(params, options)).repayment()

    def find_refund(self, refund_id: UUID, reference: str) -> Repayment | None:
        with _lookup():
            listed = self._refunds.list({"payment_intent": reference, "limit": PAGE})
            refunds = (_refund(refund) for refund in listed.auto_paging_iter())
            return next((r.repayment() for r in refunds if r.metadata.get("refund_id") == str(refund_id)), None)

    def charge_of(self, reference: str) -> str | None:
        if reference.startswith("pi_"):
            return reference
        try:
            with _errors_translated():
                return _ChargeObject.model_validate(
                    _content(self._client.v1.charges.retrieve(reference))
                ).payment_intent
        except Refused:
            return None  # Another account's charge.

    def event(self, body: bytes, signature: str) -> Event:
        settings = self._settings
        secret = settings.stripe_webhook_secret.get_secret_value()
        # The library would accept signatures from the future.
        verify(body, signature, secret, settings.webhook_tolerance_seconds, time.time())
        subject = ("data", "object")
        references = [(*subject, name) for name in ("payment_intent", "charge")]
        return read_event(body, (*subject, "metadata", "payment_id"), references)

    def report(self, since: datetime, until: datetime) -> Iterator[Reported]:
        created = {"gte": int(since.timestamp()), "lt": int(until.timestamp())}
        params = {"created": created, "limit": PAGE, "expand": EXPANDED_IN_LIST}
        with _lookup():
            for response in self._intents.list(params).auto_paging_iter():
                intent = _intent(response)
                yield intent.reported(self._gone(intent))

    @property
    def _client(self) -> "StripeClient":
        settings = self._settings
        return _client_of(
            settings.stripe_key.get_secret_value(), settings.stripe_url, settings.provider_timeout_seconds
        )

    @property
    def _intents(self) -> Any:
        return self._client.v1.payment_intents

    @property
    def _refunds(self) -> Any:
        return self._client.v1.refunds


@lru_cache(maxsize=4)
def _client_of(key: str, url: str, timeout_seconds: float) -> "StripeClient":
    import stripe

    http = stripe.RequestsClient(timeout=(CONNECT_TIMEOUT_SECONDS, timeout_seconds))
    # Our tasks retry instead, and survive restarts.
    return stripe.StripeClient(key, base_addresses={"api": url}, max_network_retries=0, http_client=http)


class _Declined(Refused):
    """By the card's bank; `reference` is the PaymentIntent."""

    def __init__(self, reason: Reason, reference: str) -> None:
        super().__init__(reason)
        self.reference = reference


@contextmanager
def _errors_translated() -> Iterator[None]:
    import stripe

    try:
        with tracing.call("stripe", {}):
            yield
    except stripe.CardError as error:
        details = _Error.model_validate((error.json_body or {}).get("error", {}))  # type: ignore[attr-defined]
        if details.payment_intent is None:
            raise Refused(details.reason) from error
        raise _Declined(details.reason, details.payment_intent.id) from error
    except (stripe.InvalidRequestError, stripe.IdempotencyError) as error:
        parameter = getattr(error, "param", None)
        code = f"invalid_{parameter}" if parameter in _OUR_FIELDS else error.code
        raise Refused(reason_of(StripeProvider.name, code, Reason.REFUSED_BY_PROVIDER)) from error
    except stripe.StripeError as error:
        raise ProviderUnavailable(f"Stripe is unavailable: {type(error).__name__}.") from error
    except ValidationError as error:
        raise ProviderUnavailable("Stripe returned an invalid response.") from error


@contextmanager
def _lookup() -> Iterator[None]:
    """A refused lookup counts as no response."""
    try:
        with _errors_translated():
            yield
    except Refused as refusal:
        raise ProviderUnavailable(f"Stripe refused a lookup: {refusal.reason}.") from refusal


class _Reference(BaseModel):
    id: str = Field(max_length=255)


class _Error(BaseModel):
    code: str | None = None
    decline_code: str | None = None
    payment_intent: _Reference | None = None

    @property
    def reason(self) -> Reason:
        return reason_of(StripeProvider.name, self.decline_code or self.code, Reason.DECLINED, _DECLINES)


class _Redirect(BaseModel):
    url: str = Field(max_length=2_000)


class _Action(BaseModel):
    redirect_to_url: _Redirect | None = None


class _RefundOfCharge(BaseModel):
    amount: int
    status: str | None


class _Refunds(BaseModel):
    data: list[_RefundOfCharge]
    has_more: bool


class _LatestCharge(BaseModel):
    amount_refunded: int = 0
    refunds: _Refunds | None = None
    disputed: bool = False

    @property
    def refunded(self) -> int:
        """Without failed refunds, which `amount_refunded` is not documented to leave out."""
        if self.refunds is None or self.refunds.has_more:
            return self.amount_refunded
        made = (each for each in self.refunds.data if _REFUND_STATUSES.get(each.status or "") != RefundStatus.REFUSED)
        return sum(each.amount for each in made)


class _ChargeObject(BaseModel):
    payment_intent: str | None = Field(max_length=255)


class _Dispute(BaseModel):
    amount: int
    status: str


class _Intent(BaseModel):
    id: str = Field(max_length=255)
    status: Literal[
        "requires_payment_method",
        "requires_confirmation",
        "requires_action",
        "processing",
        "requires_capture",
        "succeeded",
        "canceled",
    ]
    currency: str
    amount_capturable: int = 0
    amount_received: int = 0
    metadata: dict[str, str] = {}
    last_payment_error: _Error | None = None
    next_action: _Action | None = None
    latest_charge: _LatestCharge | str | None = None

    def charge(self) -> Charge:
        status = _STATUSES[self.status]
        error = self.last_payment_error or _Error()
        redirect = self.next_action.redirect_to_url if self.next_action else None
        reason = error.reason if status == Status.DECLINED else None
        return Charge(self.id, status, reason, redirect.url if redirect else None, self.amount_received)

    def reported(self, gone: Gone) -> Reported:
        payment_id, amounts = (
            payment_id_of(self.metadata.get("payment_id")),
            (self.amount_capturable, self.amount_received),
        )
        return Reported(self.id, payment_id, *amounts, gone, self.currency.upper())


class _Refund(BaseModel):
    id: str = Field(max_length=255)
    status: str
    failure_reason: str | None = None
    metadata: dict[str, str] = {}

    def repayment(self) -> Repayment:
        status = _REFUND_STATUSES.get(self.status, RefundStatus.PENDING)
        if status != RefundStatus.REFUSED:
            return Repayment(self.id, status)
        reason = reason_of(StripeProvider.name, self.failure_reason, Reason.REFUND_REFUSED, _REFUND_FAILURES)
        return Repayment(self.id, status, reason)


def _intent(response: Any) -> _Intent:
    return _Intent.model_validate(_content(response))


def _refund(response: Any) -> _Refund:
    return _Refund.model_validate(_content(response))


def _content(response: Any) -> Any:
    """Anything else is left for the models to refuse."""
    return response.to_dict() if hasattr(response, "to_dict") else response
