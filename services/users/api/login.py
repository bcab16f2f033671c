"""Login. Every failure takes the same work and gives the same response."""

from dataclasses import dataclass
from typing import NoReturn

from chassis.base.problems import Unauthorized
from chassis.security import auth
from chassis.storage import postgres, store
from chassis.web import forwarded
from chassis.web.api import Resource, endpoint
from services.users import passwords, throttle
from services.users.api import sessions
from services.users.models.security_event import record
from services.users.models.user import User
from services.users.schemas import Credentials, TokenView
from services.users.settings import Settings


class WrongCredentials(Unauthorized):
    type, title = "/problems/wrong-credentials", "Incorrect e-mail or password"


@dataclass(frozen=True)
class Verified:
    """`new_hash`: set if the cost of `checked_hash` is outdated."""

    user: User
    checked_hash: str
    new_hash: str | None


def verify(email: str, password: str) -> Verified:
    """Raises WrongCredentials, TooManyAttempts, Unavailable. Runs outside any transaction."""
    address = forwarded.client_address(Settings.current())
    throttle.check_login(email, address)
    with store.transaction():
        user = User.by_email(email)
    stored = user.hashed_password if user is not None and user.is_active else None
    if not passwords.matches(password, stored) or user is None or stored is None:
        _fail(email, address, user)
    throttle.login_succeeded(email, address)
    return Verified(user, stored, passwords.hash_password(password) if passwords.is_outdated(stored) else None)


def verify_login(body: Credentials) -> Verified:
    return verify(body.email, body.password.get_secret_value())


def _fail(email: str, address: str | None, user: User | None) -> NoReturn:
    throttle.login_failed(email, address)
    with store.transaction():
        record("login.failed", user.id if user is not None else None)
    raise wrong_credentials()


def wrong_credentials() -> WrongCredentials:
    return WrongCredentials("No account matches this e-mail address and password.", {"WWW-Authenticate": "Bearer"})


class Login(Resource):
    @endpoint(allow=auth.ANYONE, before=verify_login, raises=[WrongCredentials, throttle.TooManyAttempts])
    def post(self, body: Credentials, prepared: Verified) -> TokenView:
        """Log in with e-mail address and password."""
        user = postgres.session().get_one(User, prepared.user.id, with_for_update={"read": True})
        if user.hashed_password != prepared.checked_hash:
            raise wrong_credentials()  # changed or closed in the meantime
        if prepared.new_hash is not None:
            user.rehash(prepared.new_hash)
        record("login", user.id)
        return sessions.start(user)
