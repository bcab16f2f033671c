"""User-entered fields, validated and normalized."""

import re
import unicodedata
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, Field, SecretStr, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from chassis.base.validation import Matches
from chassis.web.fields import JOINERS, OneLine
from services.users.settings import Settings


def _email_address(text: str) -> str:
    """Lower case, Unicode NFC; no DNS lookup."""
    try:
        # Lower-casing can lengthen a string, so it precedes the length check. EmailStr accepts "Joe <joe@example.com>"
        # and rejects `.test`.
        development = Settings.current().environment == "development"
        valid = validate_email(text.lower(), check_deliverability=False, strict=True, test_environment=development)
    except EmailNotValidError as error:
        raise PydanticCustomError(
            "email", "is not an e-mail address: {reason}", {"reason": str(error).rstrip(".")}
        ) from None
    return valid.normalized


EmailAddress = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=254),
    AfterValidator(_email_address),
    WithJsonSchema({"type": "string", "format": "email", "maxLength": 254}),
]

# ASCII prevents lookalikes; no "@", so none resembles an e-mail address.
Username = Annotated[
    str,
    Field(min_length=3, max_length=100),
    Matches("[A-Za-z0-9][A-Za-z0-9._-]*", "must have letters, digits and . _ - only, and begin with a letter or digit"),
]

NAME_SIGNS = " .,'·-\N{RIGHT SINGLE QUOTATION MARK}\N{MODIFIER LETTER APOSTROPHE}\N{KATAKANA MIDDLE DOT}" + JOINERS


def _name(text: str) -> str:
    """One line, without anything a mail program would link."""
    allowed = all(
        unicodedata.category(character)[0] in "LM" or character.isdecimal() or character in NAME_SIGNS
        for character in text
    )
    if not allowed or _LINK.search(text):
        raise PydanticCustomError("name", "may contain only letters, digits, spaces and . , ' -")
    return text


_LINK = re.compile(r"\.\w{2}")
"""Matches example.com, not J.R.R. Tolkien."""


Name = Annotated[str, OneLine(100), AfterValidator(_name)]

Role = Literal["customer", "staff", "admin"]

# A single letter would match a third of users.
SearchPrefix = Annotated[str, Field(min_length=2, max_length=200)]


def _time_zone(name: str) -> str:
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise PydanticCustomError("time_zone", "is not a time zone such as Europe/Vienna") from None


TimeZone = Annotated[
    str,
    Field(min_length=1, max_length=64),
    Matches("[A-Za-z0-9_+/-]+", "is not a time zone such as Europe/Vienna"),
    AfterValidator(_time_zone),
]

Channel = Literal["email", "sms", "push"]


def by_email() -> list[Channel]:
    return ["email"]


NewPassword = Annotated[SecretStr, Field(min_length=10, max_length=200)]
CurrentPassword = Annotated[SecretStr, Field(max_length=200)]
