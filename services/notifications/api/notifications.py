"""/notifications: what a user was told, and mails that staff write."""

from uuid import UUID, uuid4

from chassis import auth
from chassis.api import Resource, endpoint
from chassis.paging import Page
from chassis.problems import NotFound
from services.notifications.api.schemas import NewEmail, NotificationPage, NotificationView
from services.notifications.models import Contact, ContactUnknown, Notification
from services.notifications.notify import notify


class UserNotifications(Resource):
    @endpoint(allow=auth.OWNER)
    def get(self, user_id: UUID, query: Page) -> NotificationPage:
        """What the user was told, newest first; only that user and staff may look."""
        notifications, following = Notification.page(auth.caller(), user_id, query)
        items = [NotificationView.model_validate(notification) for notification in notifications]
        return NotificationPage(items=items, next=following)


class Email(Resource):
    @endpoint(allow=auth.STAFF, status=202, idempotency="required", raises=[NotFound])
    def post(self, body: NewEmail) -> NotificationView:
        """Write to one user. The mail is on its way when its status is `sent`."""
        # Each mail that staff writes is a fact of its own; a repeated request is known by its Idempotency-Key.
        notification = notify(_addressee(body.user_id), "staff.email", uuid4(), title=body.subject, body=body.body)
        return NotificationView.model_validate(notification)


def _addressee(user_id: UUID) -> Contact:
    try:
        contact = Contact.known(user_id)
    except ContactUnknown as error:
        raise NotFound(str(error)) from error
    if contact.is_deleted:
        raise NotFound("This user has deleted the account.")
    return contact
