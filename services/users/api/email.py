"""E-mail verification."""

from uuid import UUID

from chassis.base import clock
from chassis.base.problems import NotFound
from chassis.security import auth
from chassis.storage import postgres
from chassis.storage.outbox import emit
from chassis.web.api import Resource, endpoint
from contracts.users import EmailVerificationRequested, EmailVerified
from services.users.models.request import Request, TokenRefused
from services.users.models.security_event import record
from services.users.models.user import User
from services.users.schemas import EmailVerification, RequestView


def request_verification(user: User) -> None:
    """Unless too many were sent."""
    request = Request.create("email", user.id, user.email)
    if request is not None:
        emit(EmailVerificationRequested(user.id, request.id))


class Verification(Resource):
    @endpoint(allow=auth.CUSTOMER, status=202, raises=[NotFound])
    def post(self) -> None:
        """Resend the verification mail, unless already verified."""
        caller = auth.caller()
        assert caller.user_id is not None
        user = User.visible_to(caller, caller.user_id)
        if user.email_verified_at is None:
            request_verification(user)


class Verify(Resource):
    @endpoint(allow=auth.ANYONE, status=204, raises=[TokenRefused])
    def post(self, body: EmailVerification) -> None:
        """Verify an address with the mailed token, once."""
        request = Request.by_token(body.token, "email", lock=True)
        request.used_at = clock.now()
        user = User.get_for_update(request.user_id)
        if user.email == request.email:
            user.email_verified_at = clock.now()
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
