"""A password for an access token. Whatever is wrong gives the same answer after the same work."""

from chassis import auth, tokens
from chassis.api import Resource, endpoint
from chassis.problems import Unauthorized
from services.users import passwords
from services.users.api.schemas import Credentials, TokenView
from services.users.models.user import User
from services.users.settings import Settings


class WrongCredentials(Unauthorized):
    type, title = "/problems/wrong-credentials", "These credentials open no account"


class Login(Resource):
    @endpoint(allow=auth.ANYONE, raises=[WrongCredentials])
    def post(self, body: Credentials) -> TokenView:
        """Log in: an access token for an e-mail and its password."""
        user = _known_by(body.email, body.password.get_secret_value())
        return TokenView(
            access_token=tokens.sign(user.id, user.roles, Settings.current()).text,
            expires_in=int(tokens.LIFETIME.total_seconds()),
            user_id=user.id,
        )


def _known_by(email: str, password: str) -> User:
    """The open account of these credentials. Raises WrongCredentials."""
    # The hash is checked with the account read but not locked: a login holds a connection, and nobody up.
    user = User.by_email(email)
    known = user.hashed_password if user is not None and user.is_active else None
    if not passwords.matches(password, known) or user is None or known is None:
        raise WrongCredentials("No account has this e-mail address and password.", {"WWW-Authenticate": "Bearer"})
    if passwords.is_outdated(known):
        user.rehash(passwords.hashed(password))
    return user
