"""The adapter to Stripe, through its library: one PaymentIntent a payment, captured by hand, found again by its metadata.

The library takes 35 MB of memory and is imported when a payment of Stripe's is first worked on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field, ValidationError

from contracts.reasons import Reason
from services.payments.models import RefundStatus, Status
from services.payments.providers.interface import (
    Charge,
    Event,
    ProviderUnavailable,
    Refused,
    Repayment,
    Reported,
    as_id,
    reason_of,
)
from services.payments.providers.signature import Unverified
from services.payments.settings import Settings

if TYPE_CHECKING:
    from stripe import StripeClient

CONNECT_TIMEOUT_SECONDS = 2.0
PAGE = 100

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
"""Decline codes that are called otherwise here: https://docs.stripe.com/declines/codes."""

_REFUND_FAILURES = {
    "insufficient_funds": Reason.REFUND_REFUSED,
    "lost_or_stolen_card": Reason.REFUND_TO_LOST_CARD,
}
"""What Stripe says of a refund is not what it would say of a charge: these funds are the shop's."""

_OUR_FIELDS = ("amount", "currency", "payment_method")


class StripeProvider:
    name = "stripe"
    signature_header = "Stripe-Signature"

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
            with _answering():
                options = {"idempotency_key": str(payment_id)}
                return _intent(self._intents.create(params, options)).charge()
        except _Declined as declined:
            return Charge(declined.reference, Status.DECLINED, declined.reason)

    # Capture and cancel carry no key of ours: Stripe repeats a failure to the same key for a day. Neither can be done twice.

    def capture(self, payment_id: UUID, reference: str) -> Charge:
        with _answering():
            return _intent(self._intents.capture(reference)).charge()

    def void(self, payment_id: UUID, reference: str) -> Charge:
        with _answering():
            return _intent(self._intents.cancel(reference)).charge()

    def find(self, payment_id: UUID, reference: str | None) -> Charge | None:
        """Without its reference a charge is found by search, which knows it about a minute after it was made."""
        with _looking():
            if reference is not None:
                return _intent(self._intents.retrieve(reference)).charge()
            found = self._intents.search({"query": f'metadata["payment_id"]:"{payment_id}"', "limit": 1}).data
            return _intent(found[0]).charge() if found else None

    def refund(self, refund_id: UUID, payment_id: UUID, reference: str, amount: int) -> Repayment:
        metadata = {"refund_id": str(refund_id), "payment_id": str(payment_id)}
        params = {"payment_intent": reference, "amount": amount, "metadata": metadata}
        with _answering():
            options = {"idempotency_key": str(refund_id)}
            return _refund(self._refunds.create(params, options)).repayment()

    def find_refund(self, refund_id: UUID, reference: str) -> Repayment | None:
        with _looking():
            made = self._refunds.list({"payment_intent": reference, "limit": PAGE})
            refunds = (_refund(refund) for refund in made.auto_paging_iter())
            return next((r.repayment() for r in refunds if r.metadata.get("refund_id") == str(refund_id)), None)

    def event(self, body: bytes, signature: str) -> Event:
        import stripe

        settings = self._settings
        secret, tolerance = settings.stripe_webhook_secret.get_secret_value(), int(settings.webhook_tolerance_seconds)
        try:
            if not secret:
                raise Unverified("No webhook secret of Stripe's is set.")
            stripe.WebhookSignature.verify_header(body.decode(), signature, secret, tolerance)
            told = _Event.model_validate_json(body)
        except (stripe.SignatureVerificationError, UnicodeDecodeError) as error:
            raise Unverified("The signature is not Stripe's.") from error
        except ValidationError as error:
            raise Unverified("It is signed, and no event.") from error
        return Event(told.id, told.type, as_id(told.data.object.metadata.get("payment_id")))

    def report(self, since: datetime, until: datetime) -> Iterator[Reported]:
        created = {"gte": int(since.timestamp()), "lt": int(until.timestamp())}
        params = {"created": created, "limit": PAGE, "expand": ["data.latest_charge"]}
        with _looking():
            for intent in self._intents.list(params).auto_paging_iter():
                yield _intent(intent).reported()

    @property
    def _client(self) -> "StripeClient":
        settings = self._settings
        return _client_of(
            settings.stripe_key.get_secret_value(), settings.stripe_url, settings.provider_timeout_seconds
        )

    # Untyped: the library's parameters are types of their own, one for each call.

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
    # Trying again is our own business: our tasks wait longer between tries, and remember across restarts.
    return stripe.StripeClient(key, base_addresses={"api": url}, max_network_retries=0, http_client=http)


class _Declined(Refused):
    """The card's bank said no; `reference` is the PaymentIntent that says so."""

    def __init__(self, reason: Reason, reference: str) -> None:
        super().__init__(reason)
        self.reference = reference


@contextmanager
def _answering() -> Iterator[None]:
    """Stripe's errors as the seam's: what it has refused, and what leaves us not knowing."""
    import stripe

    try:
        yield
    except stripe.CardError as error:
        said = _Error.model_validate((error.json_body or {}).get("error", {}))  # type: ignore[attr-defined]
        if said.payment_intent is None:
            raise Refused(said.reason) from error
        raise _Declined(said.reason, said.payment_intent.id) from error
    except (stripe.InvalidRequestError, stripe.IdempotencyError) as error:
        parameter = getattr(error, "param", None)
        code = f"invalid_{parameter}" if parameter in _OUR_FIELDS else error.code
        raise Refused(reason_of(StripeProvider.name, code, Reason.REFUSED_BY_PROVIDER)) from error
    except stripe.StripeError as error:
        raise ProviderUnavailable(f"Stripe does not answer: {type(error).__name__}.") from error
    except ValidationError as error:
        raise ProviderUnavailable("Stripe does not answer in its own words.") from error


@contextmanager
def _looking() -> Iterator[None]:
    """Whoever only looks can be refused nothing: a refusal is as good as no answer."""
    try:
        with _answering():
            yield
    except Refused as refusal:
        raise ProviderUnavailable(f"Stripe shows nothing: {refusal.reason}.") from refusal


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


class _Taken(BaseModel):
    amount_refunded: int = 0


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
    latest_charge: _Taken | str | None = None

    def charge(self) -> Charge:
        status = _STATUSES[self.status]
        error = self.last_payment_error or _Error()
        redirect = self.next_action.redirect_to_url if self.next_action else None
        reason = error.reason if status == Status.DECLINED else None
        return Charge(self.id, status, reason, redirect.url if redirect else None)

    def reported(self) -> Reported:
        refunded = self.latest_charge.amount_refunded if isinstance(self.latest_charge, _Taken) else 0
        amounts = (self.amount_capturable, self.amount_received, refunded)
        return Reported(self.id, as_id(self.metadata.get("payment_id")), *amounts, self.currency.upper())


class _Refund(BaseModel):
    id: str = Field(max_length=255)
    status: str
    failure_reason: str | None = None
    metadata: dict[str, str] = {}

    def repayment(self) -> Repayment:
        status = _REFUND_STATUSES.get(self.status, RefundStatus.PENDING)
        refused = status == RefundStatus.REFUSED
        default = Reason.REFUND_REFUSED
        meanings = _REFUND_FAILURES
        return Repayment(
            self.id, status, reason_of(StripeProvider.name, self.failure_reason, default, meanings) if refused else None
        )


class _Object(BaseModel):
    metadata: dict[str, str] = {}


class _Data(BaseModel):
    object: _Object


class _Event(BaseModel):
    id: str = Field(min_length=1, max_length=255)
    type: str = Field(max_length=100)
    data: _Data


def _intent(answer: Any) -> _Intent:
    return _Intent.model_validate(_content(answer))


def _refund(answer: Any) -> _Refund:
    return _Refund.model_validate(_content(answer))


def _content(answer: Any) -> Any:
    """What the library has made an object of; what it has not is left as it is, for the models to refuse."""
    return answer.to_dict() if hasattr(answer, "to_dict") else answer
