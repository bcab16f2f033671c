"""The pydantic bases of everything that enters and leaves: bounded, strict, and without fields that we do not know."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from chassis.web import card_numbers


class Body(BaseModel):
    """A request's JSON. A card number in any of its texts is refused: whatever we keep is kept, sent and shown elsewhere too."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, str_max_length=10_000)

    may_hold_numbers: ClassVar[frozenset[str]] = frozenset()
    """Fields whose text may well have a number of as many digits, such as a product's EAN: one in ten would pass for a card's."""

    @field_validator("*")
    @classmethod
    def holds_no_card_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str) and info.field_name not in cls.may_hold_numbers and card_numbers.has_number(value):
            raise ValueError("looks like a card number, which must never be sent here")
        return value


class Query(BaseModel):
    """A request's query string. Values arrive as text and are converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_max_length=1_000)


class View(BaseModel):
    """What an endpoint answers."""

    model_config = ConfigDict(from_attributes=True, frozen=True)

    content_type: ClassVar[str] = "application/json"

    def content(self) -> bytes:
        return self.model_dump_json().encode()

    def etag(self) -> str | None:
        """The state shown, as `If-Match` names it (RFC 9110); None for what cannot be changed under that condition."""
        return None


class HTMLPage(View):
    """For the few places where a person comes with a browser."""

    content_type: ClassVar[str] = "text/html; charset=utf-8"

    html: str

    def content(self) -> bytes:
        return self.html.encode()
