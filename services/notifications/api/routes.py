"""Every URL of the notifications service."""

from services.notifications.api.notifications import Email, UserNotifications

ROUTES = {
    "/notifications/<uuid:user_id>": UserNotifications,
    "/notifications/email": Email,
}
