"""The interface of providers and the outcomes of a delivery."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True)
class Message:
    """`subject`, `html` and `unsubscribe` (a URL) may be empty."""

    id: UUID
    recipient: str
    subject: str
    text: str
    html: str
    created_at: datetime
    unsubscribe: str = ""


class Refused(Exception):
    """Permanently."""


class NotTaken(OSError):
    """Certainly not taken: retry here or elsewhere."""


class Unknown(OSError):
    """It may have been taken."""


class Provider(Protocol):
    name: str
    """Constant per account."""

    def send(self, message: Message) -> str:
        """The provider's id, or "". Raises Refused, NotTaken or Unknown."""
        ...

    def find(self, message: Message, since: datetime) -> str | None:
        """Its id if taken since then; None means to send it again. Raises NotTaken if unavailable."""
        ...
