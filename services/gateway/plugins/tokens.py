"""JSON Web Tokens."""

import base64
import binascii
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from jwt.algorithms import Algorithm, HMACAlgorithm, get_default_algorithms
from jwt.exceptions import InvalidKeyError

ALGORITHMS: dict[str, Algorithm] = {
    name: algorithm
    for name, algorithm in get_default_algorithms().items()
    if name[:2] in ("HS", "RS", "ES", "PS") or name == "EdDSA"
}


class Refused(Exception):
    """`content`: the response's body."""

    def __init__(self, content: str | dict[str, str]) -> None:
        super().__init__(str(content))
        self.content = {"message": content} if isinstance(content, str) else content


@dataclass(frozen=True, slots=True)
class Token:
    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes


def decode(text: str) -> Token:
    """Without verifying. Raises Refused."""
    parts = text.split(".", 2)
    if len(parts) != 3:
        raise Refused("Bad token; invalid JSON")
    try:
        header, claims = (json.loads(_base64url(part)) for part in parts[:2])
    except (ValueError, RecursionError) as error:
        raise Refused("Bad token; invalid JSON") from error
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise Refused("Bad token; invalid JSON")
    if not isinstance(header.get("alg"), str) or header["alg"] not in ALGORITHMS:
        raise Refused("Bad token; invalid alg")
    try:
        signature = _base64url(parts[2])
    except ValueError as error:
        raise Refused("Bad token; invalid signature") from error
    return Token(header, claims, f"{parts[0]}.{parts[1]}".encode(), signature)


def _base64url(text: str) -> bytes:
    """Raises ValueError."""
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        return base64.b64decode(padded, b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise ValueError(str(error)) from error


@dataclass(frozen=True, slots=True)
class Key:
    """A prepared key; `material` is None if unusable."""

    algorithm: str
    material: Any

    def signed(self, token: Token) -> bool:
        return ALGORITHMS[self.algorithm].verify(token.signed, self.material, token.signature)


def prepare(algorithm: str, secret: str | None, public_key: str | None, secret_is_base64: bool) -> Key:
    """Raises InvalidKeyError or ValueError if the key does not fit its algorithm."""
    if algorithm not in ALGORITHMS:
        raise InvalidKeyError(f"the algorithm {algorithm} is not supported")
    verifier = ALGORITHMS[algorithm]
    if isinstance(verifier, HMACAlgorithm):
        if secret is None:
            return Key(algorithm, None)
        return Key(algorithm, _base64url(secret) if secret_is_base64 else secret.encode())
    return Key(algorithm, None if public_key is None else verifier.prepare_key(public_key))


def check_claims(claims: dict[str, Any], names: Iterable[str], maximum_expiration: float) -> None:
    """`names`: of `exp` and `nbf`, without leeway. Raises Refused with every failed claim."""
    now, failures = time.time(), {}
    for name in names:
        value = claims.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            failures[name] = "must be a number"
        elif name == "exp" and value <= now:
            failures[name] = "token expired"
        elif name == "nbf" and value > now:
            failures[name] = "token not valid yet"
    if failures:
        raise Refused(failures)
    if maximum_expiration > 0 and claims["exp"] - now > maximum_expiration:
        raise Refused({"exp": "exceeds maximum allowed expiration"})
