"""User preferences."""

from uuid import UUID

from chassis.security import auth
from chassis.storage.outbox import emit
from chassis.web.api import Resource, endpoint
from contracts.users import UserPreferencesUpdated
from services.users.models.preferences import Preferences
from services.users.models.user import User
from services.users.schemas import PreferencesBody, PreferencesView


class UserPreferences(Resource):
    @endpoint(allow=auth.OWNER)
    def get(self, user_id: UUID) -> PreferencesView:
        """A user's preferences."""
        return _view(User.visible_to(auth.caller(), user_id))

    @endpoint(allow=auth.OWNER)
    def put(self, user_id: UUID, body: PreferencesBody) -> PreferencesView:
        """Replace the preferences. Omitted fields return to their defaults."""
        user = User.changeable_by(auth.caller(), user_id)
        user.require_open()
        user.set_public(body.is_public)
        preferences = Preferences.of(user_id)
        if preferences.update(body.model_dump(exclude={"is_public"})):
            wishes = (body.locale, body.time_zone, body.currency, body.marketing_consent)
            emit(UserPreferencesUpdated(user_id, *wishes), preferences.updated_at)
        return _view(user)


def _view(user: User) -> PreferencesView:
    return PreferencesView.of(Preferences.of(user.id), user.is_public)
