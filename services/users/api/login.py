"""A password for tokens. Whatever is wrong gives the same answer after the same work."""

from dataclasses import dataclass
from typing import NoReturn

from chassis.base.problems import Unauthorized
from chassis.security import auth
from chassis.storage import postgres, store
from chassis.web import forwarded
from chassis.web.api import Resource, endpoint
from services.users import passwords, sessions, throttle
from services.users.models.security_event import record
from services.users.models.user import User
from services.users.schemas import Credentials, TokenView
from services.users.settings import Settings


class WrongCredentials(Unauthorized):
    type, title = "/problems/wrong-credentials", "These credentials open no account"


@dataclass(frozen=True)
class Proved:
    """An account whose password was shown, as it was then; `fresh_hash` where the hash is of another cost than today's."""

    user: User
    known_hash: str
    fresh_hash: str | None


def prove(email: str, password: str) -> Proved:
    """The open account of these credentials. Raises WrongCredentials, TooManyAttempts or Unavailable.

    No transaction is open while the hash is made, nor any lock held.
    """
    address = forwarded.client_address(Settings.current())
    throttle.check_login(email, address)
    with store.transaction():
        user = User.by_email(email)
    known = user.hashed_password if user is not None and user.is_active else None
    if not passwords.matches(password, known) or user is None or known is None:
        _fail(email, address, user)
    throttle.login_succeeded(email, address)
    return Proved(user, known, passwords.hashed(password) if passwords.is_outdated(known) else None)


def prove_login(body: Credentials) -> Proved:
    return prove(body.email, body.password.get_secret_value())


def _fail(email: str, address: str | None, user: User | None) -> NoReturn:
    throttle.login_failed(email, address)
    with store.transaction():
        record("login.failed", user.id if user is not None else None)
    raise refused()


def refused() -> WrongCredentials:
    return WrongCredentials("No account has this e-mail address and password.", {"WWW-Authenticate": "Bearer"})


class Login(Resource):
    @endpoint(allow=auth.ANYONE, before=prove_login, raises=[WrongCredentials, throttle.TooManyAttempts])
    def post(self, body: Credentials, prepared: Proved) -> TokenView:
        """Log in: an access token, and a refresh token for the next ones, for an e-mail address and its password."""
        user = postgres.session().get_one(User, prepared.user.id, with_for_update={"read": True})
        if user.hashed_password != prepared.known_hash:
            raise refused()  # changed, or closed, while we looked
        if prepared.fresh_hash is not None:
            user.rehash(prepared.fresh_hash)
        record("login", user.id)
        return sessions.begin(user)
