"""Sessions as their use cases: begun by a login, carried on by a refresh, ended when a token turns out to be stolen."""

from chassis.base.problems import Unauthorized
from chassis.security import tokens
from chassis.storage import postgres, store
from services.users.models.security_event import record
from services.users.models.session import RefreshToken, Session, shown
from services.users.models.user import User
from services.users.schemas import TokenView
from services.users.settings import Settings


class RefreshRefused(Unauthorized):
    type, title = "/problems/refresh-refused", "This refresh token opens nothing"


def begin(user: User) -> TokenView:
    return _tokens(user, Session.begin(user.id))


def refresh(text: str) -> TokenView:
    """New tokens for a refresh token, in a transaction of its own: a theft is remembered though the request is refused.

    Raises RefreshRefused.
    """
    with store.transaction():
        given = _exchange(text)
    if given is None:
        raise RefreshRefused("Log in again.", {"WWW-Authenticate": "Bearer"})
    return given


def _exchange(text: str) -> TokenView | None:
    found = shown(text)
    if found is None or not found.session.is_open:
        return None
    user, now = postgres.session().get_one(User, found.session.user_id), postgres.now()
    if not user.is_active:
        return None
    if found.token.was_stolen(now):
        found.session.end("reuse")
        record("session.reuse", user.id, session_id=str(found.session.id))
        return None
    found.token.use(now)
    found.session.keep_alive()
    return _tokens(user, found.session, found.token.digest)


def _tokens(user: User, session: Session, parent: str | None = None) -> TokenView:
    access = tokens.sign(user.id, user.roles, Settings.current(), session.id)
    return TokenView(
        access_token=access.text,
        expires_in=int(tokens.LIFETIME.total_seconds()),
        refresh_token=RefreshToken.issue(session.id, access, parent),
        user_id=user.id,
    )
