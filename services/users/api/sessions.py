"""Sessions: refresh and logout."""

from chassis.base import clock
from chassis.base.problems import Unauthorized
from chassis.security import auth, tokens
from chassis.storage import postgres, store
from chassis.web.api import Resource, endpoint
from services.users.models.revoked_token import RevokedToken
from services.users.models.security_event import record
from services.users.models.session import RefreshToken, Session, successor_of
from services.users.models.user import User
from services.users.schemas import RefreshBody, TokenView
from services.users.settings import Settings


class RefreshRefused(Unauthorized):
    type, title = "/problems/refresh-refused", "Invalid or expired refresh token"


def start(user: User) -> TokenView:
    session = Session.start(user.id)
    access = tokens.sign(user.id, user.roles, Settings.current(), session.id)
    return _view(user, access, RefreshToken.issue(session.id, access))


def refresh(body: RefreshBody) -> TokenView:
    """Commits itself, so a theft is recorded despite the refusal. Raises RefreshRefused."""
    with store.transaction():
        exchanged = _exchange(body.refresh_token.get_secret_value())
    if exchanged is None:
        raise RefreshRefused("Log in again.", {"WWW-Authenticate": "Bearer"})
    return exchanged


class Refresh(Resource):
    @endpoint(allow=auth.ANYONE, before=refresh, raises=[RefreshRefused])
    def post(self, body: RefreshBody, prepared: TokenView) -> TokenView:
        """Exchange a refresh token for new tokens, the same if repeated at once. Later reuse ends the session."""
        return prepared


class Logout(Resource):
    @endpoint(allow=auth.CUSTOMER, status=204)
    def post(self) -> None:
        """End this session. Tokens are refused within two seconds."""
        caller = auth.caller()
        if caller.session_id is not None:
            session = postgres.session().get(Session, caller.session_id, with_for_update=True)
            if session is not None and session.ended_at is None:
                session.end("logout")
        _revoke_current_token()
        record("logout", caller.user_id)


class LogoutEverywhere(Resource):
    @endpoint(allow=auth.CUSTOMER, status=204)
    def post(self) -> None:
        """End all of the caller's sessions, including this one."""
        user_id = auth.caller().user_id
        assert user_id is not None
        ended = Session.end_all(user_id, "logout")
        _revoke_current_token()
        record("logout.everywhere", user_id, sessions=ended)


def _exchange(refresh_token: str) -> TokenView | None:
    token = RefreshToken.find(refresh_token)
    if token is None:
        return None
    session = token.lock_session()
    if not session.is_open:
        return None
    user, now = postgres.session().get_one(User, session.user_id), clock.now()
    if not user.is_active:
        return None
    if token.was_stolen(now):
        session.end("reuse")
        record("session.reuse", user.id, session_id=str(session.id))
        return None
    if successor := RefreshToken.find(successor_of(refresh_token)):
        repeated = successor.access_token_id, successor.access_ends_at
        access = tokens.sign(user.id, user.roles, Settings.current(), session.id, repeated)
        return _view(user, access, successor_of(refresh_token))
    token.used_at = token.used_at or now
    session.extend()
    access = tokens.sign(user.id, user.roles, Settings.current(), session.id)
    return _view(user, access, RefreshToken.issue(session.id, access, refresh_token))


def _view(user: User, access: tokens.AccessToken, refresh_token: str) -> TokenView:
    return TokenView(
        access_token=access.text,
        expires_in=max(0, round((access.expires_at - clock.now()).total_seconds())),
        refresh_token=refresh_token,
        user_id=user.id,
    )


def _revoke_current_token() -> None:
    token_id = auth.caller().token_id
    if token_id is not None:
        RevokedToken.add({token_id: clock.now() + tokens.LIFETIME})
