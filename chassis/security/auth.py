"""Who is calling, and what a route lets them do. Every service verifies tokens and keys itself; no header is taken on trust."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from chassis.base.problems import Forbidden, Unauthorized
from chassis.base.settings import Settings
from chassis.security import keys, tokens


@dataclass(frozen=True)
class Caller:
    """Who sent the present request: a user, a service, a service for a user, or nobody known."""

    user_id: UUID | None = None
    roles: frozenset[str] = frozenset()
    service: str | None = None
    token_id: str | None = None
    session_id: UUID | None = None
    """Of the login that the user's token comes from."""

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
            raise Unauthorized("This request carries no credentials.", headers={"WWW-Authenticate": scheme})
        raise Forbidden(f"Only {self.name} may do this.")


ANYONE = Permission("anyone", anyone=True)
CUSTOMER = Permission("customers", roles=frozenset({"customer", "staff", "admin"}))
OWNER = Permission("the owner and staff", roles=CUSTOMER.roles, owner=True)
STAFF = Permission("staff", roles=frozenset({"staff", "admin"}))
ADMIN = Permission("admins", roles=frozenset({"admin"}))


def service(*names: str) -> Permission:
    """Only the named services, by their API key."""
    return Permission("services (" + ", ".join(names) + ")", services=frozenset(names))


_caller: ContextVar[Caller] = ContextVar("caller", default=NOBODY)
_judged: ContextVar[bool] = ContextVar("judged", default=False)


def caller() -> Caller:
    """The caller of the present request, as the edge found it; nobody outside of one."""
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
    """A service that acts for a user shows both its key and the user's token, and both must hold."""
    service_name = None if api_key is None else _service_of(api_key, settings)
    if authorization is None:
        return Caller(service=service_name)
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise tokens.invalid("Only the Bearer scheme is supported.")
    # One space, as RFC 6750 has it: the edge counts requests by this header, and each further way to write it has a count of its own.
    claims = tokens.verify(token, settings)
    # Only web processes see tokens; what this imports is not for the others.
    from chassis.security import revocations

    if revocations.is_revoked(claims.token_id, settings):
        raise tokens.invalid("The token has been revoked.")
    return Caller(claims.user_id, claims.roles, service_name, claims.token_id, claims.session_id)


def _service_of(api_key: str, settings: Settings) -> str:
    name = keys.keyring(settings).caller(api_key)
    if name is None:
        raise Unauthorized("Unknown API key.", headers={"WWW-Authenticate": "ApiKey"})
    return name
