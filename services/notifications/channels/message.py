"""The interface of providers, and the outcomes of a delivery: taken, refused, not taken, unknown."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True)
class Message:
    """`subject` and `html` are empty where the channel has none; `unsubscribe` is a URL or empty."""

    id: UUID
    recipient: str
    subject: str
    text: str
    html: str
    created_at: datetime
    unsubscribe: str = ""


class Refused(Exception):
    """Permanently refused."""


class NotTaken(OSError):
    """Certainly not taken: another provider may get it, or this one later."""


class Unknown(OSError):
    """It may have been taken: the response was lost. Another provider could duplicate it."""


class Provider(Protocol):
    name: str
    """For the delivery log; constant for an account."""

    def send(self, message: Message) -> str:
        """The provider's id of the message, or "". Raises Refused, NotTaken or Unknown."""
        ...

    def find(self, message: Message, since: datetime) -> str | None:
        """After an unknown outcome: the provider's id of the message, if it took it since then.

        None if it did not or cannot tell; the message is then sent again. Raises NotTaken when it is unavailable.
        """
        ...
