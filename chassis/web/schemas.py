"""Base models of requests and responses."""

import re
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from chassis.web import card_numbers

_LENIENT = re.compile(r"[\s_+]")


class Body(BaseModel):
    """A request's JSON. Card numbers are rejected."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, str_max_length=10_000)

    example: ClassVar[dict[str, Any]] = {}
    """Works as it stands; ids are of one's own things."""

    may_hold_numbers: ClassVar[frozenset[str]] = frozenset()
    """Fields with other long numbers, e.g. EANs."""

    @field_validator("*")
    @classmethod
    def holds_no_card_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str) and info.field_name not in cls.may_hold_numbers and card_numbers.has_number(value):
            raise ValueError("looks like a card number, which must never be sent here")
        return value


class Query(BaseModel):
    """A request's query string."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_max_length=1_000)

    @field_validator("*", mode="before")
    @classmethod
    def is_strictly_an_integer(cls, value: Any, info: ValidationInfo) -> Any:
        """Pydantic takes "5\\n" and "1_0"."""
        if isinstance(value, str) and _LENIENT.search(value):
            annotation = cls.model_fields[info.field_name or ""].annotation
            if annotation is int or int in get_args(annotation):
                raise PydanticCustomError("integer", "must be an integer")
        return value


class View(BaseModel):
    """A response's body."""

    model_config = ConfigDict(from_attributes=True, frozen=True)

    content_type: ClassVar[str] = "application/json"

    def content(self) -> bytes:
        return self.model_dump_json().encode()

    def etag(self) -> str | None:
        """The version, for `If-Match`; None where unsupported."""
        return None


V = TypeVar("V", bound=View)


@dataclass(frozen=True)
class Rendered(Generic[V]):
    """A view, ready to send."""

    body: bytes
    headers: dict[str, str]

    @classmethod
    def of(cls, view: V) -> Self:
        headers = {"Content-Type": view.content_type}
        if (version := view.etag()) is not None:
            headers["ETag"] = f'"{version}"'
        return cls(view.content(), headers)


class HTMLPage(View):
    """For browsers."""

    content_type: ClassVar[str] = "text/html; charset=utf-8"

    html: str

    def content(self) -> bytes:
        return self.html.encode()
