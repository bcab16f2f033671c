"""Access tokens (JWTs)."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from chassis.base import clock
from chassis.base.problems import Unauthorized
from chassis.base.settings import Settings
from chassis.security.keys import keyring

LIFETIME = timedelta(minutes=15)

LEEWAY = timedelta(seconds=10)
"""Clock skew, either way."""


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
        return Claims(UUID(claims["sub"]), frozenset(map(str, claims.get("roles", []))), claims["jti"], session_id)
    except jwt.ExpiredSignatureError as error:
        raise invalid("The token has expired.") from error
    except (jwt.InvalidTokenError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise invalid("The token is invalid.") from error


def invalid(detail: str) -> Unauthorized:
    return Unauthorized(detail, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
