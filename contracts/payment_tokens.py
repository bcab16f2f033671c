"""Payment tokens of the sandbox bank and Stripe."""

from typing import Annotated

from pydantic import Field

from chassis.base.validation import Matches

TOKEN = "(tok_[a-z0-9_]{1,60}|pm_[A-Za-z0-9_]{1,60})"  # noqa: S105 - a pattern

PaymentToken = Annotated[
    str, Matches(TOKEN, "must be a payment token such as tok_success"), Field(examples=["tok_success"])
]
