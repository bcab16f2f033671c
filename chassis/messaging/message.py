"""Messages between services: one dataclass each, registered by type. `contracts/` has them."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self
from uuid import UUID

from pydantic import TypeAdapter

REGISTRY: dict[str, type["Message"]] = {}
"""Every message class by its type."""

_ADAPTERS: dict[str, TypeAdapter[Any]] = {}


@dataclass(frozen=True)
class Message:
    """Base of all messages. The first field names what the message is about: its `subject`."""

    type: ClassVar[str]

    def __init_subclass__(cls, type: str, **kwargs: Any) -> None:  # noqa: A002 - CloudEvents names the attribute so
        super().__init_subclass__(**kwargs)
        cls.type = type
        if type in REGISTRY:
            raise TypeError(f"Two messages are called {type}.")
        REGISTRY[type] = cls

    @property
    def subject(self) -> UUID:
        subject: UUID = getattr(self, fields(self)[0].name)
        return subject

    def data(self) -> dict[str, Any]:
        """The fields as JSON values."""
        content: dict[str, Any] = _adapter(type(self)).dump_python(self, mode="json")
        return content

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """The message with these JSON values. Raises pydantic's ValidationError."""
        message: Self = _adapter(cls).validate_python(data)
        return message


def _adapter(cls: type[Message]) -> TypeAdapter[Any]:
    if cls.type not in _ADAPTERS:
        _ADAPTERS[cls.type] = TypeAdapter(cls)
    return _ADAPTERS[cls.type]
