"""Sessions over HTTP: carried on by the refresh token, ended by the user."""

from chassis.security import auth
from chassis.security.tokens import LIFETIME
from chassis.storage import postgres
from chassis.web.api import Resource, endpoint
from services.users import sessions
from services.users.models.revoked_token import RevokedToken
from services.users.models.security_event import record
from services.users.models.session import Session
from services.users.schemas import RefreshBody, TokenView


def exchange(body: RefreshBody) -> TokenView:
    return sessions.refresh(body.refresh_token.get_secret_value())


class Refresh(Resource):
    @endpoint(allow=auth.ANYONE, before=exchange, raises=[sessions.RefreshRefused])
    def post(self, body: RefreshBody, prepared: TokenView) -> TokenView:
        """New tokens for a refresh token, which is used up. One that is used twice ends its session."""
        return prepared


class Logout(Resource):
    @endpoint(allow=auth.CUSTOMER, status=204)
    def post(self) -> None:
        """End this session. Its tokens are refused everywhere within two seconds."""
        caller = auth.caller()
        session = (
            postgres.session().get(Session, caller.session_id, with_for_update=True) if caller.session_id else None
        )
        if session is not None and session.ended_at is None:
            session.end("logout")
        if caller.token_id is not None:
            RevokedToken.add({caller.token_id: postgres.now() + LIFETIME})
        record("logout", caller.user_id)


class LogoutEverywhere(Resource):
    @endpoint(allow=auth.CUSTOMER, status=204)
    def post(self) -> None:
        """End every session of the caller, this one too."""
        caller = auth.caller()
        assert caller.user_id is not None
        ended = Session.end_all(caller.user_id, "logout")
        if caller.token_id is not None:
            RevokedToken.add({caller.token_id: postgres.now() + LIFETIME})
        record("logout.everywhere", caller.user_id, sessions=ended)
