"""What a provider is given, and the four ways in which that may end: taken, refused, surely not taken, or nobody knows."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True)
class Message:
    """`subject` and `html` are empty where the channel has none. `unsubscribe` is a URL, or empty."""

    id: UUID
    recipient: str
    subject: str
    text: str
    html: str
    created_at: datetime
    unsubscribe: str = ""


class Refused(Exception):
    """This message will not be taken, now or later."""


class NotTaken(OSError):
    """Surely not taken: another provider may have it, or this one later."""


class Unknown(OSError):
    """It may have been taken: the answer was lost. Another provider could double it."""


class Provider(Protocol):
    name: str
    """Stands in the delivery log, and stays the same as long as it is the same account."""

    def send(self, message: Message) -> str:
        """Returns the provider's own name for the message once it is taken ("": none). Raises Refused, NotTaken or Unknown."""
        ...

    def find(self, message: Message, since: datetime) -> str | None:
        """After an unknown outcome: the provider's name for the message if it took it since then.

        None when it did not, or cannot tell; then the message is sent again. Raises NotTaken when it does not answer.
        """
        ...
