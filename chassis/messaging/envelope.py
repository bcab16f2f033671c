"""The CloudEvents envelope that a message travels in."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from chassis.base.problems import Malformed
from chassis.base.validation import summary
from chassis.messaging.message import REGISTRY, Message


@dataclass(frozen=True)
class Envelope:
    """CloudEvents 1.0 in structured JSON, with the traceparent extension. `id` identifies the message to inboxes."""

    id: UUID
    source: str
    type: str
    subject: str
    time: datetime
    data: dict[str, Any]
    traceparent: str = ""

    def to_json(self) -> bytes:
        content = {
            "specversion": "1.0",
            "id": str(self.id),
            "source": self.source,
            "type": self.type,
            "subject": self.subject,
            "time": self.time.isoformat(),
            "datacontenttype": "application/json",
            "traceparent": self.traceparent,
            "data": self.data,
        }
        return json.dumps(content).encode()

    @classmethod
    def from_json(cls, body: bytes) -> "Envelope":
        """Raises Malformed when the body is no envelope."""
        try:
            return _ENVELOPE.validate_json(body)
        except ValidationError as error:
            raise Malformed(f"Not an envelope: {summary(error)}") from error

    def message(self) -> Message:
        """Raises Malformed when the type is unknown or the data does not fit it."""
        if self.type not in REGISTRY:
            raise Malformed(f"No message is called {self.type}.")
        try:
            return REGISTRY[self.type].of(self.data)
        except ValidationError as error:
            raise Malformed(f"The data does not fit {self.type}: {summary(error)}") from error


_ENVELOPE = TypeAdapter(Envelope)
