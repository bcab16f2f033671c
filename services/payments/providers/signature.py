"""Sandbox webhook signatures: `t=<seconds since 1970>,v1=<hex HMAC-SHA256 of "<t>.<body>">`.

Any `v1` may match, for rotation of the secret. Old `t` are refused, to prevent replays.
"""

import hashlib
import hmac


class Unverified(Exception):
    """Not from the provider, or too old."""


def verify(body: bytes, header: str, secret: str, tolerance_seconds: float, now: float) -> None:
    """Raises Unverified."""
    pairs = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in pairs if name == "t" and value.isdecimal() and len(value) < 12]
    if not secret or len(times) != 1 or abs(now - int(times[0])) > tolerance_seconds:
        raise Unverified("The signature's timestamp is missing, or too far from now.")
    expected = hmac.new(secret.encode(), f"{times[0]}.".encode() + body, hashlib.sha256).hexdigest()
    signatures = [value for name, _, value in pairs if name == "v1"]
    if not any(hmac.compare_digest(expected.encode(), value.encode()) for value in signatures):
        raise Unverified("The signature does not match.")
