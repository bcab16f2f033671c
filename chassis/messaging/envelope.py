"""The CloudEvents envelope."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

from pydantic import Field, TypeAdapter, ValidationError

from chassis.base import clock
from chassis.base.problems import Malformed
from chassis.base.validation import summary
from chassis.messaging.message import Message, read


@dataclass(frozen=True)
class Envelope:
    """CloudEvents 1.0, structured JSON; extensions traceparent, correlationid and dataversion."""

    id: UUID
    source: str
    type: str
    subject: str
    time: datetime
    data: dict[str, Any]
    traceparent: str = ""
    version: Annotated[int, Field(alias="dataversion", ge=1)] = 1
    """Absent before messages had versions."""

    correlation_id: Annotated[str, Field(alias="correlationid")] = ""

    @classmethod
    def of(cls, message: Message, source: str) -> "Envelope":
        subject = str(message.subject)
        return cls(uuid4(), source, message.type, subject, clock.now(), message.data(), version=message.version)

    def to_json(self) -> bytes:
        content = {
            "specversion": "1.0",
            "id": str(self.id),
            "source": self.source,
            "type": self.type,
            "subject": self.subject,
            "time": self.time.isoformat(),
            "datacontenttype": "application/json",
            "dataversion": self.version,
            "traceparent": self.traceparent,
            "correlationid": self.correlation_id,
            "data": self.data,
        }
        return json.dumps(content).encode()

    @classmethod
    def from_json(cls, body: bytes) -> "Envelope":
        """Raises Malformed."""
        try:
            return _ENVELOPE.validate_json(body)
        except ValidationError as error:
            raise Malformed(f"Not an envelope: {summary(error)}") from error

    def message(self) -> Message:
        """Raises as `read` does."""
        return read(self.type, self.data, self.version)


_ENVELOPE = TypeAdapter(Envelope)
