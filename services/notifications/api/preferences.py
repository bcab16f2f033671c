"""/notifications/{user_id}/preferences."""

from datetime import time
from uuid import UUID

from flask import request

from chassis.base.problems import NotFound, PreconditionFailed
from chassis.security import auth
from chassis.web.api import Resource, endpoint
from services.notifications.kinds import CHOOSABLE
from services.notifications.models import Contact, ContactUnknown, Preferences
from services.notifications.schemas import NewPreferences, PreferencesView, QuietHours


class UserPreferences(Resource):
    @endpoint(allow=auth.OWNER)
    def get(self, user_id: UUID) -> PreferencesView:
        """The user's notification preferences."""
        return _view(_contact(user_id), Preferences.of(user_id))

    @endpoint(allow=auth.OWNER, raises=[PreconditionFailed])
    def put(self, user_id: UUID, body: NewPreferences) -> PreferencesView:
        """Replace them, if they still match `If-Match`. Omitted fields are reset to their defaults."""
        contact = _contact(user_id)
        preferences = Preferences.to_change(user_id)
        seen = _view(contact, preferences).etag()
        if "If-Match" in request.headers and not (request.if_match.star_tag or request.if_match.contains(seen)):
            raise PreconditionFailed("The preferences have changed; read them again first.")
        quiet = body.quiet_hours
        preferences.choices = {kind: dict(channels) for kind, channels in body.channels.items()}
        preferences.phone, preferences.time_zone = body.phone, body.time_zone
        preferences.quiet_from = time.fromisoformat(quiet.begin) if quiet else None
        preferences.quiet_until = time.fromisoformat(quiet.end) if quiet else None
        preferences.digest, preferences.digest_hour = body.digest, body.digest_hour
        return _view(contact, preferences)


def _contact(user_id: UUID) -> Contact:
    """Raises NotFound for users hidden from the caller."""
    if auth.caller().owns(user_id):
        try:
            contact = Contact.get_for_update(user_id)
        except ContactUnknown as error:
            raise NotFound(str(error)) from error
        if not contact.is_deleted:
            return contact
    raise NotFound("User not found.")


def _view(contact: Contact, preferences: Preferences) -> PreferencesView:
    begin, end = preferences.quiet_from, preferences.quiet_until
    return PreferencesView(
        user_id=contact.user_id,
        channels={
            name: {channel: preferences.wants(kind, channel) for channel in sorted(kind.offered)}
            for name, kind in CHOOSABLE.items()
        },
        phone=preferences.phone,
        quiet_hours=QuietHours(begin=f"{begin:%H:%M}", end=f"{end:%H:%M}") if begin and end else None,
        time_zone=preferences.zone(contact.time_zone).key,
        own_time_zone=preferences.time_zone,
        locale=contact.locale or "en",
        marketing_consent=contact.marketing_consent,
        digest=preferences.digest,
        digest_hour=preferences.digest_hour,
    )
