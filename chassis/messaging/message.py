"""Base of the message types in `contracts/`."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, ClassVar, Self
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from chassis.base.problems import Malformed, Unavailable
from chassis.base.validation import summary
from chassis.messaging.upcasters import Upcaster

REGISTRY: dict[str, type["Message"]] = {}
"""By type."""

_ADAPTERS: dict[type["Message"], TypeAdapter[Any]] = {}


class UnknownType(Exception):
    """Unknown to this release, or without a handler."""


class NewerVersion(Unavailable):
    """From a newer release: retry, another instance may read it."""


@dataclass(frozen=True)
class Message:
    """The first field is the `subject`, the id of what the message is about.

    Changing fields makes a new version: `upcasters[0]` turns version 1 into 2, and so on.
    """

    type: ClassVar[str]
    version: ClassVar[int]
    upcasters: ClassVar[Sequence[Upcaster]]

    def __init_subclass__(cls, type: str, upcasters: Sequence[Upcaster] = (), **kwargs: Any) -> None:  # noqa: A002 - CloudEvents names the attribute so
        super().__init_subclass__(**kwargs)
        cls.type, cls.upcasters, cls.version = type, upcasters, 1 + len(upcasters)
        if type in REGISTRY:
            raise TypeError(f"Two messages are called {type}.")
        REGISTRY[type] = cls

    @classmethod
    @cache
    def subject_name(cls) -> str:
        """order_id, user_id, ..."""
        return fields(cls)[0].name

    @property
    def subject(self) -> UUID:
        subject: UUID = getattr(self, self.subject_name())
        return subject

    def data(self) -> dict[str, Any]:
        """JSON values. Raises PydanticSerializationError for a field of another type."""
        content: dict[str, Any] = adapter(type(self)).dump_python(self, mode="json", warnings="error")
        return content

    @classmethod
    def of(cls, data: dict[str, Any], version: int) -> Self:
        """From JSON values. Raises NewerVersion, Malformed."""
        if version > cls.version:
            raise NewerVersion(f"{cls.type} has version {version}; the newest known here is {cls.version}.")
        try:
            for upcaster in cls.upcasters[version - 1 :]:
                data = upcaster(data)
            message: Self = adapter(cls).validate_python(data)
        except (ValidationError, LookupError, TypeError, AttributeError) as error:
            reason = summary(error) if isinstance(error, ValidationError) else repr(error)
            raise Malformed(f"The data does not fit version {version} of {cls.type}: {reason}") from error
        return message


def read(type_: str, data: dict[str, Any], version: int) -> Message:
    """From JSON values. Raises UnknownType, NewerVersion, Malformed."""
    if type_ not in REGISTRY:
        raise UnknownType(f"No message is called {type_}.")
    return REGISTRY[type_].of(data, version)


def adapter(cls: type[Message]) -> TypeAdapter[Any]:
    if cls not in _ADAPTERS:
        _ADAPTERS[cls] = TypeAdapter(cls)
    return _ADAPTERS[cls]
