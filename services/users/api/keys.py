"""The public keys by which anybody verifies our tokens, where they are signed by a pair of keys."""

from chassis import auth, keys
from chassis.api import Resource, endpoint
from services.users.api.schemas import KeySetView
from services.users.settings import Settings


class KeySet(Resource):
    @endpoint(allow=auth.ANYONE)
    def get(self) -> KeySetView:
        """The public keys of access tokens; none while they are signed by a secret (HS256)."""
        return KeySetView.model_validate(keys.jwks(Settings.current().keyring.now()))
