"""Requests that nobody should have sent: refused before any route is looked for."""

import re

from services.gateway import answers, uris
from services.gateway.exchange import Exchange

LONGEST_LINE = 8 * 1024
"""Characters of a request target or header value; Kong's (nginx's large_client_header_buffers)."""

_HOST = re.compile(r"([A-Za-z0-9._~!$&'()*+;=%-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")

# Neither scheme has a comma in its credentials: it is where the server joined two headers.
_TWO_AUTHORIZATIONS = re.compile(r"\s*(bearer|basic)\s[^,]*,", re.IGNORECASE)


def refusal(exchange: Exchange) -> tuple[int, str] | None:
    """The error for a request that is malformed or too large. For any other, None, and its path is normalised."""
    if len(exchange.raw_path) + len(exchange.query) > LONGEST_LINE:
        return 414, "URI too long"
    if max(map(len, exchange.headers.values()), default=0) > LONGEST_LINE:
        return 400, "Request header or cookie too large"
    if not _HOST.fullmatch(exchange.host) or _has_two_lengths(exchange):
        return answers.BAD_REQUEST
    if _TWO_AUTHORIZATIONS.match(exchange.headers.get("HTTP_AUTHORIZATION", "")):
        return answers.BAD_REQUEST
    try:
        exchange.path = uris.normalise(exchange.raw_path)
    except uris.BadPath:
        return answers.BAD_REQUEST
    return None


def _has_two_lengths(exchange: Exchange) -> bool:
    """Content-Length and Transfer-Encoding together are how requests are smuggled; so is an encoding that is not chunked.

    Granian settles the first by itself: it drops the length, and what is sent on has one framing, ours.
    """
    encoding = exchange.headers.get("HTTP_TRANSFER_ENCODING")
    return encoding is not None and (encoding.lower() != "chunked" or exchange.announced_length is not None)
