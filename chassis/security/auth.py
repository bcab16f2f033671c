"""Callers and their permissions."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from chassis.base.problems import Forbidden, Unauthorized
from chassis.base.settings import Settings
from chassis.security import keys, tokens


@dataclass(frozen=True)
class Caller:
    """A user, a service, or a service for a user."""

    user_id: UUID | None = None
    roles: frozenset[str] = frozenset()
    service: str | None = None
    token_id: str | None = None
    session_id: UUID | None = None
    """The token's login."""

    @property
    def is_staff(self) -> bool:
        return not self.roles.isdisjoint({"staff", "admin"})

    def owns(self, user_id: UUID | None) -> bool:
        """Also true for staff. None: only staff."""
        _ownership_checked.set(True)
        return (user_id is not None and self.user_id == user_id) or self.is_staff


ANONYMOUS = Caller()


@dataclass(frozen=True)
class Permission:
    """One of `anyone`, `roles`, `services` suffices. owner: the endpoint must check `Caller.owns`."""

    name: str
    anyone: bool = False
    roles: frozenset[str] = frozenset()
    services: frozenset[str] = frozenset()
    owner: bool = False

    def described(self) -> dict[str, Any]:
        """For the OpenAPI document."""
        return {
            "anyone": self.anyone,
            "roles": sorted(self.roles),
            "services": sorted(self.services),
            "owner": self.owner,
        }

    def check(self, caller: Caller) -> None:
        """Raises Unauthorized if anonymous, else Forbidden."""
        if self.anyone or caller.service in self.services or self.roles & caller.roles:
            return
        if caller == ANONYMOUS:
            scheme = "ApiKey" if self.services else "Bearer"
            raise Unauthorized("This request carries no credentials.", headers={"WWW-Authenticate": scheme})
        raise Forbidden(f"Only {self.name} may do this.")


ANYONE = Permission("anyone", anyone=True)
CUSTOMER = Permission("customers", roles=frozenset({"customer", "staff", "admin"}))
OWNER = Permission("the owner and staff", roles=CUSTOMER.roles, owner=True)
STAFF = Permission("staff", roles=frozenset({"staff", "admin"}))
ADMIN = Permission("admins", roles=frozenset({"admin"}))


def service(*names: str) -> Permission:
    return Permission("services (" + ", ".join(names) + ")", services=frozenset(names))


_caller: ContextVar[Caller] = ContextVar("caller", default=ANONYMOUS)
_ownership_checked: ContextVar[bool] = ContextVar("ownership_checked", default=False)


def caller() -> Caller:
    """ANONYMOUS outside of a request."""
    return _caller.get()


def has_checked_ownership() -> bool:
    return _ownership_checked.get()


def admit(permission: Permission, authorization: str | None, api_key: str | None, settings: Settings) -> Caller:
    """Sets `caller()`. Raises Unauthorized, Forbidden; on a route for anyone, invalid credentials count as none."""
    try:
        found = _authenticate(authorization, api_key, settings)
    except Unauthorized:
        if not permission.anyone:
            raise
        found = ANONYMOUS
    permission.check(found)
    _caller.set(found)
    _ownership_checked.set(False)
    return found


def _authenticate(authorization: str | None, api_key: str | None, settings: Settings) -> Caller:
    """A service acting for a user sends both."""
    service_name = None if api_key is None else _service_of(api_key, settings)
    if authorization is None:
        return Caller(service=service_name)
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise tokens.invalid("Only the Bearer scheme is supported.")
    # Exactly one space: the edge limits rates by this text.
    claims = tokens.verify(token, settings)
    # Only web processes see tokens.
    from chassis.security import revocations

    if revocations.is_revoked(claims.token_id, settings):
        raise tokens.invalid("The token has been revoked.")
    return Caller(claims.user_id, claims.roles, service_name, claims.token_id, claims.session_id)


def _service_of(api_key: str, settings: Settings) -> str:
    name = keys.keyring(settings).caller(api_key)
    if name is None:
        raise Unauthorized("Unknown API key.", headers={"WWW-Authenticate": "ApiKey"})
    return name
