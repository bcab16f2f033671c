"""/notifications: a user's notifications, and messages from staff."""

from collections.abc import Sequence
from uuid import UUID, uuid4

from chassis.base.problems import Conflict, NotFound
from chassis.security import auth
from chassis.web.api import Resource, endpoint
from services.notifications.kinds import EMAIL, PUSH, SMS
from services.notifications.models import Attempt, Contact, ContactUnknown, Notification, Preferences
from services.notifications.notify import address, notify
from services.notifications.schemas import (
    AttemptView,
    DeliveryView,
    NewEmail,
    NewMessage,
    NewPush,
    NewSMS,
    NotificationPage,
    NotificationsQuery,
    NotificationView,
    SentView,
)


class UserNotifications(Resource):
    @endpoint(allow=auth.OWNER, may_be_stale=True)
    def get(self, user_id: UUID, query: NotificationsQuery) -> NotificationPage:
        """The user's notifications, newest first; with `subject_id`, those about one order."""
        notifications, following = Notification.page(auth.caller(), user_id, query, query.subject_id)
        return NotificationPage(items=_views(notifications), next=following)


class UserNotification(Resource):
    @endpoint(allow=auth.OWNER)
    def get(self, user_id: UUID, notification_id: UUID) -> DeliveryView:
        """One notification with its delivery log."""
        notification = Notification.visible_to(auth.caller(), user_id, notification_id)
        log = [AttemptView.of(attempt, for_staff=auth.caller().is_staff) for attempt in Attempt.of(notification.id)]
        return DeliveryView(**NotificationView.model_validate(notification).model_dump(), log=log)


# Each message is a new fact; Idempotency-Key catches repeats.


class Message(Resource):
    @endpoint(allow=auth.STAFF, status=202, idempotency="required", raises=[NotFound])
    def post(self, body: NewMessage) -> SentView:
        """Message one user on all channels they want. Each notification's status shows its progress."""
        contact = _addressee(body.user_id)
        sent = notify(contact, body.kind, uuid4(), title=body.title, body=body.body)
        return SentView(items=_views(sent))


class Email(Resource):
    @endpoint(allow=auth.STAFF, status=202, idempotency="required", raises=[NotFound])
    def post(self, body: NewEmail) -> NotificationView:
        """Mail one user. The status becomes `sent`; `suppressed` means that it will not be sent."""
        return _write(body.user_id, EMAIL, body.subject, body.body)


class TextMessage(Resource):
    @endpoint(allow=auth.STAFF, status=202, idempotency="required", raises=[NotFound])
    def post(self, body: NewSMS) -> NotificationView:
        """Send one user an SMS; 409 without a phone number. The status shows its progress."""
        return _write(body.user_id, SMS, "", body.text)


class Push(Resource):
    @endpoint(allow=auth.STAFF, status=202, idempotency="required", raises=[NotFound])
    def post(self, body: NewPush) -> NotificationView:
        """Push a message to each of a user's devices; 409 if there are none."""
        return _write(body.user_id, PUSH, body.title, body.body)


def _write(user_id: UUID, channel: str, title: str, body: str) -> NotificationView:
    contact = _addressee(user_id)
    if not address(contact, Preferences.of(user_id), channel):
        raise Conflict(f"This user cannot be reached by {channel}.")
    [notification] = notify(contact, "staff.message", uuid4(), channels=[channel], title=title, body=body)
    return NotificationView.model_validate(notification)


def _views(notifications: Sequence[Notification]) -> list[NotificationView]:
    return [NotificationView.model_validate(notification) for notification in notifications]


def _addressee(user_id: UUID) -> Contact:
    try:
        contact = Contact.get_for_update(user_id)
    except ContactUnknown as error:
        raise NotFound(str(error)) from error
    if contact.is_deleted:
        raise NotFound("This user has deleted their account.")
    return contact
