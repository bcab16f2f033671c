"""Money: decimal with two places in the API and in columns, whole minor units in messages and towards providers."""

from decimal import Decimal
from typing import Annotated

from pydantic import Field

Amount = Annotated[Decimal, Field(gt=0, max_digits=10, decimal_places=2, examples=["12.50"])]
"""A sum of money in the API: a decimal string such as "12.50", as DECIMAL(10,2) holds it."""

LARGEST = 99_999_999_99
"""The largest sum in minor units that DECIMAL(10,2) holds."""


def to_minor(amount: Decimal) -> int:
    """12.50 is 1250."""
    return int(amount.scaleb(2))


def from_minor(amount: int) -> Decimal:
    """1250 is 12.50."""
    return Decimal(amount).scaleb(-2).quantize(Decimal("0.01"))
