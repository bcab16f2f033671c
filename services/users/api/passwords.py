"""A new password: by the old one, or by the token of a mail. Either ends the sessions that the old one opened."""

from dataclasses import dataclass

from chassis.base.problems import NotFound
from chassis.security import auth
from chassis.storage import postgres, store
from chassis.storage.outbox import emit
from chassis.web.api import Resource, endpoint
from contracts.users import PasswordChanged, PasswordResetRequested
from services.users import passwords, throttle
from services.users.api.login import WrongCredentials, prove
from services.users.models.request import Request, TokenRefused
from services.users.models.security_event import record
from services.users.models.session import Session
from services.users.models.user import User
from services.users.schemas import ForgottenPassword, PasswordChange, PasswordReset


@dataclass(frozen=True)
class NewHash:
    user: User
    hashed_password: str


def prove_old(body: PasswordChange) -> NewHash:
    user_id = auth.caller().user_id
    assert user_id is not None
    with store.transaction():
        user = User.visible_to(auth.caller(), user_id)
    prove(user.email, body.current_password.get_secret_value())
    return _new_hash(user, body.new_password.get_secret_value())


def prove_token(body: PasswordReset) -> NewHash:
    with store.transaction():
        request = Request.proved(body.token, "password")
        user = postgres.session().get_one(User, request.user_id)
    return _new_hash(user, body.new_password.get_secret_value())


class OwnPassword(Resource):
    @endpoint(
        allow=auth.CUSTOMER,
        status=204,
        before=prove_old,
        raises=[WrongCredentials, throttle.TooManyAttempts, NotFound],
    )
    def put(self, body: PasswordChange, prepared: NewHash) -> None:
        """Change the password. Every other session ends; this one goes on."""
        _set(prepared, "password.changed", but=True)


class Forgotten(Resource):
    @endpoint(allow=auth.ANYONE, status=202)
    def post(self, body: ForgottenPassword) -> None:
        """Ask for a mail that lets a new password be set. The answer is the same whether or not there is an account."""
        user = User.by_email(body.email)
        user_id = user.id if user is not None and user.is_active else None
        # Where there is no account a request is made all the same, so that the time taken tells next to nothing.
        request = Request.make("password", user_id, None)
        if request is not None and user_id is not None:
            emit(PasswordResetRequested(user_id, request.id))
        record("password.forgotten", user_id)


class Reset(Resource):
    @endpoint(allow=auth.ANYONE, status=204, before=prove_token, raises=[TokenRefused])
    def post(self, body: PasswordReset, prepared: NewHash) -> None:
        """Set a new password with the token of the mail, once. Every session ends."""
        request = Request.proved(body.token, "password", lock=True)
        request.used_at = postgres.now()
        _set(prepared, "password.reset", but=False)


def _new_hash(user: User, password: str) -> NewHash:
    passwords.refuse_weak(password, user.names, "new_password")
    return NewHash(user, passwords.hashed(password))


def _set(new: NewHash, kind: str, but: bool) -> None:
    """`but`: the caller's own session goes on."""
    user = User.get_for_update(new.user.id)
    user.set_password(new.hashed_password)
    Session.end_all(user.id, "password", auth.caller().session_id if but else None)
    record(kind, user.id)
    emit(PasswordChanged(user.id))
