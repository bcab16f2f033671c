"""Tolerant parsing of malformed mails."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import Header, decode_header, make_header
from email.message import Message
from email.parser import BytesHeaderParser
from typing import TypeAlias

Part: TypeAlias = "Message[str, str]"

# In the list only.
MAX_SUBJECT_LENGTH = 200


@dataclass(frozen=True)
class Summary:
    id: str
    sender: str
    recipients: tuple[str, ...]
    subject: str
    received_at: datetime

    def is_for(self, recipient: str) -> bool:
        return recipient.casefold() in (each.casefold() for each in self.recipients)


@dataclass(frozen=True)
class Attachment:
    filename: str
    content_type: str
    size_bytes: int


@dataclass(frozen=True)
class Letter:
    summary: Summary
    headers: list[tuple[str, str]]
    text: str | None
    html: str | None
    attachments: list[Attachment]


def read_summary(mail_id: str, received: float, content: bytes) -> Summary:
    """`received`: seconds since the epoch."""
    # Headers only: a nested body can fail to parse.
    message = BytesHeaderParser().parsebytes(content)
    return Summary(
        id=mail_id,
        sender=_readable(message["From"]) or _readable(message["X-Envelope-From"]),
        recipients=tuple(filter(None, _readable(message["X-Envelope-To"]).split(", "))),
        subject=_readable(message["Subject"])[:MAX_SUBJECT_LENGTH],
        received_at=datetime.fromtimestamp(received, UTC),
    )


def read_letter(summary: Summary, content: bytes) -> Letter:
    try:
        message = message_from_bytes(content)
        parts = list(_parts(message))
    except RecursionError:
        message = BytesHeaderParser().parsebytes(content)
        parts = [message]
    bodies = [part for part in parts if not _is_attachment(part)]
    return Letter(
        summary=summary,
        headers=[(name, _readable(value)) for name, value in message.items()],
        text=_first(bodies, "text/plain"),
        html=_first(bodies, "text/html"),
        attachments=[_attachment(part) for part in parts if _is_attachment(part)],
    )


def _parts(message: Part) -> Iterator[Part]:
    return (part for part in message.walk() if not part.is_multipart())


def _is_attachment(part: Part) -> bool:
    return part.get_content_disposition() == "attachment" or not part.get_content_type().startswith("text/")


def _attachment(part: Part) -> Attachment:
    return Attachment(
        filename=_readable(part.get_filename()) or "unnamed",
        content_type=_readable(part.get_content_type()),
        size_bytes=len(_payload(part)),
    )


def _first(parts: list[Part], content_type: str) -> str | None:
    return next((_text(part) for part in parts if part.get_content_type() == content_type), None)


def _text(part: Part) -> str:
    try:
        decoded = _payload(part).decode(part.get_content_charset("utf-8"), "replace")
    except (LookupError, ValueError):
        decoded = _payload(part).decode("utf-8", "replace")
    return _whole(decoded).replace("\r\n", "\n")


def _payload(part: Part) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _readable(value: str | Header | None) -> str:
    """Decoded, on one line."""
    try:
        decoded = str(make_header(decode_header(value or "")))
    except (LookupError, ValueError, HeaderParseError):
        decoded = str(value)
    return _whole(" ".join(decoded.split()))


def _whole(text: str) -> str:
    """Without lone surrogates, which cannot be encoded."""
    return text.encode("utf-8", "replace").decode()
