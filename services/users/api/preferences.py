"""/users/{id}/preferences."""

from uuid import UUID

from chassis.security import auth
from chassis.storage.outbox import emit
from chassis.web.api import Resource, endpoint
from contracts.users import UserPreferencesUpdated
from services.users.models.preferences import Preferences
from services.users.models.user import AccountClosed, User
from services.users.schemas import PreferencesBody, PreferencesView


class UserPreferences(Resource):
    @endpoint(allow=auth.OWNER)
    def get(self, user_id: UUID) -> PreferencesView:
        """How the user wants to be served."""
        return _view(User.visible_to(auth.caller(), user_id))

    @endpoint(allow=auth.OWNER)
    def put(self, user_id: UUID, body: PreferencesBody) -> PreferencesView:
        """Replace them all; what is left out is at its default again."""
        user = User.changeable_by(auth.caller(), user_id)
        if not user.is_active:
            raise AccountClosed("Nothing of it can be changed any more.")
        user.show(body.is_public)
        if Preferences.of(user_id).update(body.model_dump(exclude={"is_public"})):
            emit(UserPreferencesUpdated(user_id, body.locale, body.time_zone, body.currency, body.marketing_consent))
        return _view(user)


def _view(user: User) -> PreferencesView:
    return PreferencesView.of(Preferences.of(user.id), user.is_public)
