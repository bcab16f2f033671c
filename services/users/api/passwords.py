"""Password change and reset."""

from dataclasses import dataclass
from uuid import UUID

from chassis.base import clock
from chassis.base.problems import NotFound
from chassis.security import auth
from chassis.storage import postgres, store
from chassis.storage.outbox import emit
from chassis.web.api import Resource, endpoint
from contracts.users import PasswordChanged, PasswordResetRequested
from services.users import passwords, throttle
from services.users.api.login import WrongCredentials, verify
from services.users.models.request import Request, TokenRefused
from services.users.models.security_event import record
from services.users.models.session import Session
from services.users.models.user import User
from services.users.schemas import ForgottenPassword, PasswordChange, PasswordReset


@dataclass(frozen=True)
class NewHash:
    user: User
    hashed_password: str


def verify_current(body: PasswordChange) -> NewHash:
    user_id = auth.caller().user_id
    assert user_id is not None
    with store.transaction():
        user = User.visible_to(auth.caller(), user_id)
    verify(user.email, body.current_password.get_secret_value())
    return _new_hash(user, body.new_password.get_secret_value())


def verify_token(body: PasswordReset) -> NewHash:
    with store.transaction():
        request = Request.by_token(body.token, "password")
        user = postgres.session().get_one(User, request.user_id)
    return _new_hash(user, body.new_password.get_secret_value())


class OwnPassword(Resource):
    @endpoint(
        allow=auth.CUSTOMER,
        status=204,
        before=verify_current,
        raises=[WrongCredentials, throttle.TooManyAttempts, NotFound],
    )
    def put(self, body: PasswordChange, prepared: NewHash) -> None:
        """Change the password. All other sessions end."""
        _set(prepared, "password.changed", keep_session=auth.caller().session_id)


class Forgotten(Resource):
    @endpoint(allow=auth.ANYONE, status=202)
    def post(self, body: ForgottenPassword) -> None:
        """Request a password reset mail. The response does not reveal whether an account exists."""
        user = User.by_email(body.email)
        user_id = user.id if user is not None and user.is_active else None
        # Also without an account, to equalize response times.
        request = Request.create("password", user_id, None)
        if request is not None and user_id is not None:
            emit(PasswordResetRequested(user_id, request.id))
        record("password.forgotten", user_id)


class Reset(Resource):
    @endpoint(allow=auth.ANYONE, status=204, before=verify_token, raises=[TokenRefused])
    def post(self, body: PasswordReset, prepared: NewHash) -> None:
        """Set a password with the mailed token, once. All sessions end."""
        request = Request.by_token(body.token, "password", lock=True)
        request.used_at = clock.now()
        _set(prepared, "password.reset", keep_session=None)


def _new_hash(user: User, password: str) -> NewHash:
    passwords.reject_weak(password, user.personal_terms, "new_password")
    return NewHash(user, passwords.hash_password(password))


def _set(new: NewHash, kind: str, keep_session: UUID | None) -> None:
    user = User.get_for_update(new.user.id)
    user.set_password(new.hashed_password)
    Session.end_all(user.id, "password", except_for=keep_session)
    record(kind, user.id)
    emit(PasswordChanged(user.id))
