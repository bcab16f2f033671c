"""The part of a payment that never changes."""

import re
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from chassis.web import card_numbers
from contracts import payment_tokens


@dataclass(frozen=True)
class Terms:
    """`amount` in minor units. Non-token payment methods are dropped: they might be card numbers."""

    user_id: UUID
    amount: int
    currency: str
    payment_method: str

    def columns(self) -> dict[str, Any]:
        is_token = re.fullmatch(payment_tokens.TOKEN, self.payment_method) and not card_numbers.has_number(
            self.payment_method
        )
        return {
            "user_id": self.user_id,
            "amount": self.amount,
            "currency": self.currency,
            "payment_method": self.payment_method if is_token else "",
        }
