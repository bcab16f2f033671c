"""Requests and responses of the payments API."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import Field, field_validator

from chassis.web.fields import OneLine
from chassis.web.pagination import Page, PageView
from chassis.web.schemas import Body, View
from contracts import money
from contracts.currencies import Currency
from contracts.money import Amount, AmountView
from contracts.payment_tokens import PaymentToken
from contracts.payments import MAX_PAYMENT
from contracts.reasons import Reader
from services.payments.models import Payment, Refund
from services.payments.models.ledger import Entry, Sums
from services.payments.settings import Settings


class NewPayment(Body):
    example: ClassVar[dict[str, Any]] = {"amount": "12.50", "currency": "EUR", "payment_method": "tok_success"}

    amount: Amount
    currency: Currency
    payment_method: PaymentToken
    capture: bool = True
    """False only authorises; staff capture or void later."""

    @field_validator("amount")
    @classmethod
    def is_taken_by_providers(cls, amount: int) -> int:
        if amount > MAX_PAYMENT:
            raise ValueError(f"must be at most {money.from_minor(MAX_PAYMENT)}")
        return amount

    @field_validator("currency")
    @classmethod
    def is_accepted(cls, currency: str) -> str:
        accepted = sorted(Settings.current().currencies)
        if currency not in accepted:
            raise ValueError(f"must be one of: {', '.join(accepted)}")
        return currency


class PaymentView(View):
    """While `status` is pending, the customer may have to confirm at `action_url`."""

    id: UUID
    order_id: UUID | None
    user_id: UUID | None
    amount: AmountView
    captured_amount: AmountView
    refunded_amount: AmountView
    disputed_amount: AmountView
    """Withheld until a dispute is decided."""

    charged_back_amount: AmountView
    """Lost in disputes."""

    currency: str
    status: str
    decline_reason: str | None
    decline_text: str | None
    """`decline_reason` in the request's language."""

    action_url: str | None
    provider: str
    provider_reference: str | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, payment: Payment, sums: Sums, reader: Reader) -> "PaymentView":
        own = {name: getattr(payment, name) for name in cls.model_fields if hasattr(payment, name)}
        reason = payment.decline_reason and payment.reason
        own |= {"decline_reason": reader.code(reason), "decline_text": reader.text(reason)}
        booked = {name: getattr(sums, name.removesuffix("_amount")) for name in _FROM_LEDGER}
        booked["refunded_amount"] += sums.settled
        return cls.model_validate(own | booked)


_FROM_LEDGER = ("captured_amount", "refunded_amount", "disputed_amount", "charged_back_amount")


class PaymentsQuery(Page):
    order_id: UUID | None = None


class PaymentPage(PageView):
    items: list[PaymentView]


class NewNote(Body):
    """A comment by staff; customers see it only if it is addressed to them."""

    text: str = Field(min_length=1, max_length=200)
    audience: Literal["staff", "customer"] = "staff"


class NewRefund(Body):
    example: ClassVar[dict[str, Any]] = {"payment_id": "6f1d2c3b-4a59-4e68-8776-95a4b3c2d1e0", "amount": "2.50"}

    payment_id: UUID
    amount: Amount | None = None
    """By default all that is refundable."""

    note: NewNote | None = None


class RefundView(View):
    """`status`: waiting (for the capture), pending, refunded, or refused or returned (by the bank) with a reason."""

    id: UUID
    payment_id: UUID
    amount: AmountView
    status: str
    reason: str
    reason_text: str
    note: str | None

    refusal_reason: str | None
    refusal_text: str | None
    requested_by: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, refund: Refund, reader: Reader) -> "RefundView":
        own = {name: getattr(refund, name) for name in cls.model_fields if hasattr(refund, name)}
        own |= {"reason": reader.code(refund.reason), "reason_text": reader.text(refund.reason)}
        own |= {
            "refusal_reason": reader.code(refund.refusal_reason),
            "refusal_text": reader.text(refund.refusal_reason),
        }
        return cls.model_validate(own | {"note": reader.note(refund.note)})


class RefundList(View):
    items: list[RefundView]


class EntryView(View):
    """`amount` moved from the account `source` to `target`."""

    move: str
    source: str
    target: str
    amount: AmountView
    currency: str
    refund_id: UUID | None
    occurred_at: datetime

    @classmethod
    def of(cls, entry: Entry) -> "EntryView":
        return cls.model_validate(entry)


class LedgerView(View):
    items: list[EntryView]


class NewMethod(Body):
    example: ClassVar[dict[str, Any]] = {"token": "tok_success", "label": "My blue card"}

    token: PaymentToken
    label: Annotated[str, OneLine(100)] = Field(examples=["My blue card"])


class MethodView(View):
    id: UUID
    token: str
    label: str
    created_at: datetime


class MethodList(View):
    items: list[MethodView]
