"""A request's head, and errors that refuse it."""

from dataclasses import dataclass

MAX_LINE_LENGTH = 8 * 1024
"""Bytes of a target or header; Kong's (nginx's large_client_header_buffers)."""

MAX_HEAD = 4 * MAX_LINE_LENGTH

BAD_REQUEST = (400, "Bad request")
UNKNOWN_ENCODING = (501, "Not implemented")
TOO_LARGE_HEAD = (400, "Request header or cookie too large")
TOO_LONG_TARGET = (414, "URI too long")
TOO_SLOW = (408, "Request time-out")
NOT_ALLOWED = (405, "Method not allowed")
UNKNOWN_VERSION = (505, "HTTP version not supported")


@dataclass(slots=True)
class Head:
    method: str
    target: str
    """As sent."""
    version: str
    headers: list[tuple[str, str]]
    """As sent, decoded as latin-1."""
    scheme: str
    peer: tuple[str, int]
    port: int
    """The gateway's."""
    keeps_alive: bool = False
    wants_upgrade: bool = False
    refusal: tuple[int, str] | None = None
    """Status and message if malformed."""

    @property
    def has_body(self) -> bool:
        for name, value in self.headers:
            lower = name.lower()
            if lower == "transfer-encoding" or (lower == "content-length" and value.strip("0 \t")):
                return True
        return False


class ClientGone(Exception):
    """The client closed before the exchange was complete."""


class ClientTooSlow(Exception):
    """The body came too late."""


class BadBody(Exception):
    """The body is malformed."""
