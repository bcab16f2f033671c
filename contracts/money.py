"""Money: decimal with two places in the API and in columns, whole minor units in messages and towards providers."""

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

_TEXT = r"^[0-9]{1,8}(\.[0-9]{1,2})?$"


def _parse(value: Any) -> Any:
    """The text of a sum as a Decimal of two places. A JSON number is refused: binary fractions are not money."""
    if isinstance(value, str) and re.match(_TEXT, value):
        return Decimal(value).quantize(Decimal("0.01"))
    if isinstance(value, Decimal):
        return value
    raise ValueError('must be a decimal string such as "12.50"')


Amount = Annotated[
    Decimal,
    BeforeValidator(_parse),
    Field(gt=0, max_digits=10, decimal_places=2),
    WithJsonSchema({"type": "string", "pattern": _TEXT, "examples": ["12.50"]}),
]
"""A sum of money in the API: a decimal string such as "12.50", as DECIMAL(10,2) holds it."""

MAX = 99_999_999_99
"""The largest sum in minor units that DECIMAL(10,2) holds."""


def to_minor(amount: Decimal) -> int:
    """12.50 is 1250."""
    return int(amount.scaleb(2))


def from_minor(amount: int) -> Decimal:
    """1250 is 12.50."""
    return Decimal(amount).scaleb(-2).quantize(Decimal("0.01"))
