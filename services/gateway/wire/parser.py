"""Parses requests with llhttp, within Kong's limits."""

from typing import Protocol

import httptools

from services.gateway.wire.head import BAD_REQUEST, MAX_HEAD, MAX_LINE_LENGTH, TOO_LARGE_HEAD, TOO_LONG_TARGET, Head


class Refused(Exception):
    """`kind`: the error for the client."""

    def __init__(self, kind: tuple[int, str]) -> None:
        super().__init__(kind)
        self.kind = kind


class Receiver(Protocol):
    """Called in this order for each request."""

    def head_began(self) -> None: ...

    def head_ended(self, head: Head) -> None: ...

    def body_received(self, block: bytes) -> None: ...

    def request_ended(self) -> None: ...


class RequestParser:
    def __init__(self, receiver: Receiver, scheme: str, peer: tuple[str, int], port: int) -> None:
        self._receiver = receiver
        self._scheme, self._peer, self._port = scheme, peer, port
        self._llhttp = httptools.HttpRequestParser(self)
        self._target, self._headers = b"", list[tuple[str, str]]()
        self._head_bytes = self._fields_bytes = 0
        self.is_in_head = False

    def feed(self, data: bytes) -> bool:
        """False after a switch to another protocol. Raises Refused."""
        try:
            self._llhttp.feed_data(data)
        except httptools.HttpParserUpgrade:
            return False
        except httptools.HttpParserError as error:
            # llhttp wraps what its callbacks raise.
            raise error.__context__ if isinstance(error.__context__, Refused) else Refused(BAD_REQUEST) from error
        # llhttp reports a header only when it has seen the next.
        self._head_bytes += len(data)
        if self.is_in_head and self._head_bytes > MAX_HEAD:
            raise Refused(TOO_LARGE_HEAD)
        return True

    def head(self, refusal: tuple[int, str] | None = None) -> Head:
        """As far as parsed."""
        return Head(
            self._llhttp.get_method().decode(),
            self._target.decode("latin-1"),
            self._llhttp.get_http_version(),
            self._headers,
            self._scheme,
            self._peer,
            self._port,
            refusal=refusal,
        )

    # --- called by llhttp

    def on_message_begin(self) -> None:
        self._target, self._headers = b"", []
        self._head_bytes = self._fields_bytes = 0
        self.is_in_head = True
        self._receiver.head_began()

    def on_url(self, part: bytes) -> None:
        self._target += part
        if len(self._target) > MAX_LINE_LENGTH:
            raise Refused(TOO_LONG_TARGET)

    def on_header(self, name: bytes, value: bytes) -> None:
        size = len(name) + len(value) + len(": \r\n")
        self._fields_bytes += size
        if size > MAX_LINE_LENGTH or self._fields_bytes > MAX_HEAD:
            raise Refused(TOO_LARGE_HEAD)
        # Drop trailers and, like nginx, other names than letters, digits, hyphens and underscores.
        if self.is_in_head and (name.isalnum() or name.translate(None, b"-_").isalnum()):
            self._headers.append((name.decode("latin-1"), value.rstrip(b" ").decode("latin-1")))

    def on_headers_complete(self) -> None:
        head = self.head()
        head.wants_upgrade = self._llhttp.should_upgrade()
        head.keeps_alive = self._llhttp.should_keep_alive() and not head.wants_upgrade
        self.is_in_head = False
        self._receiver.head_ended(head)

    def on_body(self, block: bytes) -> None:
        self._receiver.body_received(block)

    def on_message_complete(self) -> None:
        self._receiver.request_ended()
