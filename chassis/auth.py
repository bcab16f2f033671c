"""Who is calling, and what a route lets them do. Every service verifies tokens and keys itself; no header is taken on trust."""

import hashlib
import hmac
import secrets
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from chassis import db
from chassis.problems import Forbidden, Unauthorized
from chassis.settings import Settings

ACCESS_TOKEN_LIFETIME = timedelta(minutes=15)


@dataclass(frozen=True)
class Caller:
    """Who sent the present request: a user, a service, or nobody known."""

    user_id: UUID | None = None
    roles: frozenset[str] = frozenset()
    service: str | None = None

    @property
    def is_staff(self) -> bool:
        return not self.roles.isdisjoint({"staff", "admin"})

    def owns(self, user_id: UUID | None) -> bool:
        """Whether what belongs to `user_id` is this caller's own, or staff's business; what is nobody's is staff's."""
        _judged.set(True)
        return (user_id is not None and self.user_id == user_id) or self.is_staff


NOBODY = Caller()


@dataclass(frozen=True)
class Permission:
    """Who may use a route: anyone, users with one of `roles`, or the named services.

    With `owner`, users get only what is their own; its endpoints find it by an accessor that asks `Caller.owns`.
    """

    name: str
    anyone: bool = False
    roles: frozenset[str] = frozenset()
    services: frozenset[str] = frozenset()
    owner: bool = False

    def described(self) -> dict[str, Any]:
        """For programs, as the OpenAPI document shows it."""
        return {
            "anyone": self.anyone,
            "roles": sorted(self.roles),
            "services": sorted(self.services),
            "owner": self.owner,
        }

    def check(self, caller: Caller) -> None:
        """Raises Unauthorized when we do not know who calls, Forbidden when we do and they may not."""
        if self.anyone or caller.service in self.services or self.roles & caller.roles:
            return
        if caller == NOBODY:
            scheme = "ApiKey" if self.services else "Bearer"
            raise Unauthorized("This needs credentials.", headers={"WWW-Authenticate": scheme})
        raise Forbidden(f"This is for {self.name}.")


ANYONE = Permission("anyone", anyone=True)
CUSTOMER = Permission("customers", roles=frozenset({"customer", "staff", "admin"}))
OWNER = Permission("the owner and staff", roles=CUSTOMER.roles, owner=True)
STAFF = Permission("staff", roles=frozenset({"staff", "admin"}))
ADMIN = Permission("admins", roles=frozenset({"admin"}))


def service(*names: str) -> Permission:
    """Only the named services, by their API key."""
    return Permission("services: " + ", ".join(names), services=frozenset(names))


def sign_token(user_id: UUID, roles: list[str], settings: Settings) -> str:
    """An access token for `user_id`, signed with the first key."""
    import jwt

    key_id, key = next(iter(settings.jwt_keys.items()))
    now = db.now()
    claims = {
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "sub": str(user_id),
        "roles": roles,
        "jti": secrets.token_hex(16),
        "iat": now,
        "exp": now + ACCESS_TOKEN_LIFETIME,
    }
    return jwt.encode(claims, key.get_secret_value(), algorithm="HS256", headers={"kid": key_id})


_caller: ContextVar[Caller] = ContextVar("caller")
_judged: ContextVar[bool] = ContextVar("judged", default=False)


def caller() -> Caller:
    """The caller of the present request, as the edge found it."""
    return _caller.get()


def has_judged_ownership() -> bool:
    """Whether the present request has asked whose something is."""
    return _judged.get()


def admit(permission: Permission, authorization: str | None, api_key: str | None, settings: Settings) -> Caller:
    """The caller by the request's headers, also to be had from `caller()`, if the route is for them.

    Raises Unauthorized or Forbidden; where anyone may come, credentials that do not hold are as good as none.
    """
    try:
        found = _identified(authorization, api_key, settings)
    except Unauthorized:
        if not permission.anyone:
            raise
        found = NOBODY
    permission.check(found)
    _caller.set(found)
    _judged.set(False)
    return found


def _identified(authorization: str | None, api_key: str | None, settings: Settings) -> Caller:
    if api_key is not None:
        return Caller(service=_service_of(api_key, settings))
    if authorization is None:
        return NOBODY
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise _invalid_token("Only Bearer tokens are understood.")
    return verify_token(token.strip(), settings)


def verify_token(token: str, settings: Settings) -> Caller:
    """Raises Unauthorized unless `token` is one of ours, untampered, for us and in time."""
    # PyJWT brings cryptography, 5 MB a process: only processes that see tokens import it.
    import jwt

    try:
        key = settings.jwt_keys.get(str(jwt.get_unverified_header(token).get("kid")))
        if key is None:
            raise _invalid_token("The token is signed with a key that is not in use.")
        claims = jwt.decode(
            token,
            key.get_secret_value(),
            algorithms=["HS256"],
            audience=settings.jwt_audience,
            issuer=settings.jwt_issuer,
            options={"require": ["exp", "iat", "sub", "jti"]},
        )
        return Caller(UUID(claims["sub"]), frozenset(map(str, claims.get("roles", []))))
    except jwt.ExpiredSignatureError as error:
        raise _invalid_token("The token has expired.") from error
    except (jwt.InvalidTokenError, ValueError, TypeError) as error:
        raise _invalid_token("The token is not valid.") from error


def _invalid_token(detail: str) -> Unauthorized:
    return Unauthorized(detail, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})


def _service_of(key: str, settings: Settings) -> str:
    shown = hashlib.sha256(key.encode()).hexdigest()
    for name, known in settings.api_callers.items():
        if hmac.compare_digest(shown, known):
            return name
    raise Unauthorized("The API key is not known.", headers={"WWW-Authenticate": "ApiKey"})
