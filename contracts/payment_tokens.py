"""The shapes of payment tokens, which stand for a card: the bank stand-in's and Stripe's."""

from typing import Annotated

from pydantic import Field

TOKEN = "^(tok_[a-z0-9_]{1,60}|pm_[A-Za-z0-9_]{1,60})$"  # noqa: S105 - the shape of one

PaymentToken = Annotated[str, Field(pattern=TOKEN, examples=["tok_success"])]
"""How a customer says what they pay with."""
