"""The format of payment tokens, which stand for a card: those of the sandbox bank and Stripe."""

from typing import Annotated

from pydantic import Field

TOKEN = "^(tok_[a-z0-9_]{1,60}|pm_[A-Za-z0-9_]{1,60})$"  # noqa: S105 - a pattern

PaymentToken = Annotated[str, Field(pattern=TOKEN, examples=["tok_success"])]
"""The payment method of a request."""
