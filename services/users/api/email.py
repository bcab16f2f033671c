"""E-mail verification."""

from datetime import timedelta
from uuid import UUID

from chassis.base import clock
from chassis.base.problems import NotFound
from chassis.security import auth
from chassis.storage import postgres
from chassis.storage.outbox import emit
from chassis.web.api import Resource, endpoint
from contracts.users import EmailVerificationRequested, EmailVerified, RegistrationRepeated, UserUpdated
from services.users.models.request import Request, TokenRefused, refused
from services.users.models.security_event import SecurityEvent, record
from services.users.models.user import AlreadyTaken, User
from services.users.schemas import EmailVerification, RequestView


def request_verification(user: User) -> None:
    """Of the pending address, else the current one. Unless too many were sent."""
    address = user.pending_email or user.email
    request = Request.create("email", user.id, address)
    owner = User.by_email(address)
    if owner is not None and owner.id != user.id:
        notify_owner(owner)
    elif request is not None:
        emit(EmailVerificationRequested(user.id, request.id))


def notify_owner(owner: User) -> None:
    """That someone else entered the address; at most once a day."""
    if not SecurityEvent.has_recent(owner.id, "registration.repeated", timedelta(days=1)):
        emit(RegistrationRepeated(owner.id))
    record("registration.repeated", owner.id)


def updated(user: User) -> UserUpdated:
    return UserUpdated(user.id, user.email, user.username, user.first_name or "", user.last_name or "")


class Verification(Resource):
    @endpoint(allow=auth.CUSTOMER, status=202, raises=[NotFound])
    def post(self) -> None:
        """Resend the verification mail, unless already verified."""
        caller = auth.caller()
        assert caller.user_id is not None
        user = User.visible_to(caller, caller.user_id)
        if user.email_verified_at is None or user.pending_email is not None:
            request_verification(user)


class Verify(Resource):
    @endpoint(allow=auth.ANYONE, status=204, raises=[TokenRefused, AlreadyTaken])
    def post(self, body: EmailVerification) -> None:
        """Verify an address with the mailed token, once."""
        request = Request.by_token(body.token, "email", lock=True)
        request.used_at = clock.now()
        user = User.get_for_update(request.user_id)
        previous = user.email
        if not user.verify_email(request.email):
            raise refused()
        if user.email != previous:
            record("email.changed", user.id)
            emit(updated(user), user.updated_at)
        record("email.verified", user.id)
        emit(EmailVerified(user.id, user.email))


class OneRequest(Resource):
    @endpoint(allow=auth.service("notifications"))
    def get(self, request_id: UUID) -> RequestView:
        """A request's token and recipient. 404 once used, replaced or expired."""
        request = Request.find_open(request_id)
        user = postgres.session().get(User, request.user_id) if request is not None else None
        if request is None or user is None or not user.is_active:
            raise NotFound("This request is not open.")
        return RequestView(email=request.email or user.email, token=request.token, expires_at=request.expires_at)
