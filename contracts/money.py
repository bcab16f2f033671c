"""Money: minor units in Python and messages, a decimal string in the API, NUMERIC(10,2) in columns."""

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

_TEXT = r"[0-9]{1,8}(\.[0-9]{1,2})?"
_SCHEMA = WithJsonSchema({"type": "string", "pattern": f"^{_TEXT}$", "examples": ["12.50"]})


def to_minor(amount: Decimal) -> int:
    return int(amount.scaleb(2))


def from_minor(amount: int) -> Decimal:
    """1250 is 12.50."""
    return Decimal(amount).scaleb(-2).quantize(Decimal("0.01"))


def text(amount: int, currency: str) -> str:
    """Like "12.50 EUR"."""
    return f"{from_minor(amount)} {currency}"


def _parse(value: Any) -> Decimal:
    """Refuses JSON numbers: binary fractions are not money."""
    if isinstance(value, str) and re.fullmatch(_TEXT, value):
        return Decimal(value).quantize(Decimal("0.01"))
    raise ValueError('must be a decimal string such as "12.50"')


def _parse_decimal(value: Any) -> Decimal:
    return value if isinstance(value, Decimal) else _parse(value)


def _parse_minor(value: Any) -> int:
    return to_minor(_parse(value))


Amount = Annotated[int, BeforeValidator(_parse_minor), Field(gt=0), _SCHEMA]
"""In a request: "12.50" becomes 1250."""

AmountView = Annotated[int, PlainSerializer(lambda amount: str(from_minor(amount)), return_type=str), _SCHEMA]
"""In a response: 1250 becomes "12.50"."""

DecimalAmount = Annotated[
    Decimal, BeforeValidator(_parse_decimal), Field(gt=0, max_digits=10, decimal_places=2), _SCHEMA
]
"""For a store with a decimal type."""
