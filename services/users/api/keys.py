"""Public keys."""

from chassis.security import auth, keys
from chassis.web.api import Resource, endpoint
from services.users.schemas import KeySetView
from services.users.settings import Settings


class KeySet(Resource):
    @endpoint(allow=auth.ANYONE)
    def get(self) -> KeySetView:
        """Public keys of access tokens; empty with HS256."""
        return KeySetView.model_validate(keys.jwks(keys.keyring(Settings.current()).now()))
