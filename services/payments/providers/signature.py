"""Signatures of webhooks as the sandbox makes them: an HMAC over the moment of sending and the body as it came.

`t=<seconds since 1970>,v1=<hex HMAC-SHA256 of "<t>.<body>">`; of several `v1` one has to be right, so that a secret can be
changed. A moment too far away is refused: who overheard a webhook cannot send it again later.
"""

import hashlib
import hmac


class Unverified(Exception):
    """This was not sent by the provider, or not just now."""


def verify(body: bytes, header: str, secret: str, tolerance_seconds: float, now: float) -> None:
    """Raises Unverified."""
    pairs = [part.strip().partition("=") for part in header.split(",")]
    moments = [value for name, _, value in pairs if name == "t" and value.isdecimal() and len(value) < 12]
    if not secret or len(moments) != 1 or abs(now - int(moments[0])) > tolerance_seconds:
        raise Unverified("The signature has no moment, or one that is too far away.")
    right = hmac.new(secret.encode(), f"{moments[0]}.".encode() + body, hashlib.sha256).hexdigest()
    shown = [value for name, _, value in pairs if name == "v1"]
    if not any(hmac.compare_digest(right.encode(), value.encode()) for value in shown):
        raise Unverified("The signature is not the provider's.")
