"""What the payments API takes and answers."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from pydantic import Field, field_validator

from chassis.money import Amount
from chassis.paging import PageView
from chassis.schemas import Body, View
from services.payments.models.terms import TOKEN
from services.payments.settings import CurrencyCode, Settings


class NewPayment(Body):
    amount: Amount
    currency: CurrencyCode
    payment_method: str = Field(pattern=TOKEN, examples=["tok_success"])
    """A provider's token; card numbers never come here."""

    capture: bool = True
    """Take the money at once; false only reserves it."""

    @field_validator("currency")
    @classmethod
    def that_we_take(cls, currency: str) -> str:
        taken = sorted(Settings.current().currencies)
        if currency not in taken:
            raise ValueError(f"is not one of: {', '.join(taken)}")
        return currency


class PaymentView(View):
    """`status` is pending until the provider has answered; then authorized, captured or declined, and maybe voided or failed."""

    id: UUID
    order_id: UUID | None
    user_id: UUID | None
    amount: Decimal
    currency: str
    status: str
    decline_reason: str | None
    provider: str
    provider_reference: str | None
    created_at: datetime
    updated_at: datetime


class PaymentPage(PageView):
    items: list[PaymentView]
