"""Access tokens (JWTs)."""

import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from chassis.base import clock
from chassis.base.clock import LEEWAY
from chassis.base.problems import Unauthorized
from chassis.base.settings import Settings
from chassis.security.keys import JWTKey, keyring

LIFETIME = timedelta(minutes=15)

MAX_VERIFIED = 10_000
"""Remembered: 1 KB each."""


@dataclass(frozen=True)
class AccessToken:
    text: str
    id: str
    """`jti`, for revocation."""
    expires_at: datetime


@dataclass(frozen=True)
class Claims:
    """Of a valid token."""

    user_id: UUID
    roles: frozenset[str]
    token_id: str
    session_id: UUID | None


def sign(
    user_id: UUID,
    roles: Sequence[str],
    settings: Settings,
    session_id: UUID | None = None,
    repeated: tuple[str, datetime] | None = None,
) -> AccessToken:
    """repeated: id and expiry of a token to reissue."""
    import jwt

    key = keyring(settings).now().signing
    token_id, expires_at = repeated or (secrets.token_hex(16), clock.now() + LIFETIME)
    claims: dict[str, Any] = {
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "sub": str(user_id),
        "roles": list(roles),
        "jti": token_id,
        "iat": expires_at - LIFETIME,
        "exp": expires_at,
    }
    if session_id is not None:
        claims["sid"] = str(session_id)
    text = jwt.encode(claims, key.signing, algorithm=key.algorithm, headers={"kid": key.id})
    return AccessToken(text, token_id, expires_at)


def verify(token: str, settings: Settings) -> Claims:
    """Raises Unauthorized. Does not check revocation."""
    return settings.once(Verifier).verify(token)


class Verifier:
    """Checks each token's signature once, while its key is valid."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keyring = keyring(settings)
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        """By SHA-256 of the token, least recently used first."""
        self._lock = threading.Lock()

    def verify(self, token: str) -> Claims:
        """Raises Unauthorized."""
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        with self._lock:
            verified = self._verified.get(digest)
            if verified is not None:
                self._verified.move_to_end(digest)
        if verified is None or not self._is_valid(verified):
            verified = _verified(token, self._settings)
            with self._lock:
                self._verified[digest] = verified
                if len(self._verified) > MAX_VERIFIED:
                    self._verified.popitem(last=False)
        return verified.claims

    def _is_valid(self, verified: "_Verified") -> bool:
        return time.time() < verified.until and self._keyring.jwt_key(verified.key.id) == verified.key


@dataclass(frozen=True)
class _Verified:
    claims: Claims
    key: JWTKey
    until: float
    """Seconds since the epoch."""


def _verified(token: str, settings: Settings) -> _Verified:
    """Raises Unauthorized."""
    # Brings cryptography, 5 MB.
    import jwt

    try:
        key = keyring(settings).jwt_key(str(jwt.get_unverified_header(token).get("kid")))
        if key is None:
            raise invalid("The token is signed with an unknown key.")
        claims = jwt.decode(
            token,
            key.verifying,
            algorithms=[key.algorithm],
            audience=settings.jwt_audience,
            issuer=settings.jwt_issuer,
            leeway=LEEWAY,
            options={"require": ["exp", "iat", "sub", "jti"]},
        )
        session_id = UUID(claims["sid"]) if "sid" in claims else None
        roles = frozenset(map(str, claims.get("roles", [])))
        found = Claims(UUID(claims["sub"]), roles, claims["jti"], session_id)
        return _Verified(found, key, int(claims["exp"]) + LEEWAY.total_seconds())
    except jwt.ExpiredSignatureError as error:
        raise invalid("The token has expired.") from error
    except (jwt.InvalidTokenError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise invalid("The token is invalid.") from error


def invalid(detail: str) -> Unauthorized:
    return Unauthorized(detail, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
