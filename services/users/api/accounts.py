"""Accounts: register, read, change, close."""

from uuid import UUID

from sqlalchemy import select

from chassis.base.problems import NotFound
from chassis.security import auth
from chassis.storage.outbox import emit
from chassis.web import pagination
from chassis.web.api import Resource, endpoint
from contracts.users import UserDeleted, UserRegistered
from services.users import passwords
from services.users.api.email import notify_owner, request_verification, updated
from services.users.models.preferences import Preferences
from services.users.models.request import Request
from services.users.models.security_event import record
from services.users.models.session import Session
from services.users.models.user import User
from services.users.schemas import NewUser, Profile, UserPage, UserView


def hash_password(body: NewUser) -> str:
    """Outside the transaction, so a slow hash holds no connection."""
    password = body.password.get_secret_value()
    terms = [body.email, body.email.partition("@")[0], body.username, body.first_name, body.last_name]
    passwords.reject_weak(password, [term for term in terms if term], "password")
    return passwords.hash_password(password)


class Registration(Resource):
    @endpoint(allow=auth.ANYONE, status=201, location="/users/{id}", idempotency="optional", before=hash_password)
    def post(self, body: NewUser, prepared: str) -> UserView:
        """Register an account. For a known address the response is the same, and the owner gets a mail."""
        user = User.new(body.profile, hashed_password=prepared)
        if user.register():
            names = user.first_name or "", user.last_name or ""
            emit(UserRegistered(user.id, user.email, user.username, *names), user.updated_at)
            request_verification(user)
            record("registered", user.id)
        elif (owner := User.by_email(user.email)) is not None:
            notify_owner(owner)
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
        """An account: the caller's own, or any for staff."""
        return UserView.model_validate(User.visible_to(auth.caller(), user_id))

    @endpoint(allow=auth.OWNER)
    def put(self, user_id: UUID, body: Profile) -> UserView:
        """Replace the profile; omitted names are removed. A new address is pending until its mailed token is used."""
        user = User.changeable_by(auth.caller(), user_id)
        previous = user.pending_email
        if user.update_profile(body.model_dump()):
            emit(updated(user), user.updated_at)
        if user.pending_email not in (None, previous):
            record("email.change_requested", user.id)
            request_verification(user)
        return UserView.model_validate(user)

    @endpoint(allow=auth.OWNER, status=204)
    def delete(self, user_id: UUID) -> None:
        """Close the account for good and erase personal data."""
        user = User.changeable_by(auth.caller(), user_id, include_closed=True)
        if user.close():
            Session.end_all(user.id, "closed")
            Preferences.erase(user.id)
            Request.erase(user.id)
            record("closed", user.id)
            emit(UserDeleted(user.id))


class Users(Resource):
    @endpoint(allow=auth.STAFF, may_be_stale=True)
    def get(self, query: pagination.Page) -> UserPage:
        """All accounts, newest first."""
        users, cursor = pagination.newest_first(select(User), User.created_at, User.id, query)
        return UserPage(items=[UserView.model_validate(user) for user in users], next=cursor)
