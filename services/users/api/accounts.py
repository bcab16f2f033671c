"""Accounts over HTTP: open one, look at it, change it, close it. What others must know leaves as messages."""

from typing import TypeVar
from uuid import UUID

from sqlalchemy import select

from chassis.base.problems import NotFound
from chassis.security import auth
from chassis.storage.outbox import emit
from chassis.web import pagination
from chassis.web.api import Resource, endpoint
from contracts.users import UserDeleted, UserRegistered, UserUpdated
from services.users import passwords
from services.users.api.email import ask_for_proof
from services.users.models.preferences import Preferences
from services.users.models.request import Request
from services.users.models.security_event import record
from services.users.models.session import Session
from services.users.models.user import User
from services.users.schemas import NewUser, Profile, UserPage, UserView

M = TypeVar("M", UserRegistered, UserUpdated)


def hash_password(body: NewUser) -> str:
    """Slow, so it comes before the transaction: meanwhile no connection is taken and no row is locked."""
    password = body.password.get_secret_value()
    names = [body.email, body.email.partition("@")[0], body.username, body.first_name, body.last_name]
    passwords.refuse_weak(password, [name for name in names if name], "password")
    return passwords.hashed(password)


class Registration(Resource):
    @endpoint(allow=auth.ANYONE, status=201, location="/users/{id}", idempotency="optional", before=hash_password)
    def post(self, body: NewUser, prepared: str) -> UserView:
        """Open an account."""
        user = User.register(body.profile, hashed_password=prepared)
        emit(_telling(UserRegistered, user))
        ask_for_proof(user)
        record("registered", user.id)
        return UserView.model_validate(user)


class Me(Resource):
    @endpoint(allow=auth.CUSTOMER, raises=[NotFound])
    def get(self) -> UserView:
        """The caller's own account."""
        caller = auth.caller()
        assert caller.user_id is not None
        return UserView.model_validate(User.visible_to(caller, caller.user_id))


class OneUser(Resource):
    @endpoint(allow=auth.OWNER)
    def get(self, user_id: UUID) -> UserView:
        """One account: the caller's own, or any for staff."""
        return UserView.model_validate(User.visible_to(auth.caller(), user_id))

    @endpoint(allow=auth.OWNER)
    def put(self, user_id: UUID, body: Profile) -> UserView:
        """Replace the profile; names that are left out are forgotten."""
        user = User.changeable_by(auth.caller(), user_id)
        before = user.email
        if user.describe(body.model_dump()):
            emit(_telling(UserUpdated, user))
        if user.email != before:
            record("email.changed", user.id)
            ask_for_proof(user)
        return UserView.model_validate(user)

    @endpoint(allow=auth.OWNER, status=204)
    def delete(self, user_id: UUID) -> None:
        """Close the account for good and forget who it was. Closing twice is closing once."""
        user = User.changeable_by(auth.caller(), user_id, even_closed=True)
        if user.close():
            Session.end_all(user.id, "closed")
            Preferences.forget(user.id)
            Request.forget(user.id)
            record("closed", user.id)
            emit(UserDeleted(user.id))


class Users(Resource):
    @endpoint(allow=auth.STAFF)
    def get(self, query: pagination.Page) -> UserPage:
        """All accounts, newest first."""
        users, cursor = pagination.newest_first(select(User), User.created_at, User.id, query)
        return UserPage(items=[UserView.model_validate(user) for user in users], next=cursor)


def _telling(message: type[M], user: User) -> M:
    return message(user.id, user.email, user.username, user.first_name or "", user.last_name or "")
