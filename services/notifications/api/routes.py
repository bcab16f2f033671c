"""Every URL of the notifications service."""

from services.notifications.api.devices import Devices, OneDevice, PushKey
from services.notifications.api.notifications import (
    Email,
    Message,
    Push,
    TextMessage,
    UserNotification,
    UserNotifications,
)
from services.notifications.api.preferences import UserPreferences
from services.notifications.api.unsubscribe import Unsubscribe

ROUTES = {
    "/notifications/send": Message,
    "/notifications/email": Email,
    "/notifications/sms": TextMessage,
    "/notifications/push": Push,
    "/notifications/push/key": PushKey,
    "/notifications/unsubscribe/<string(maxlength=500):token>": Unsubscribe,
    "/notifications/<uuid:user_id>": UserNotifications,
    "/notifications/<uuid:user_id>/preferences": UserPreferences,
    "/notifications/<uuid:user_id>/devices": Devices,
    "/notifications/<uuid:user_id>/devices/<uuid:device_id>": OneDevice,
    "/notifications/<uuid:user_id>/<uuid:notification_id>": UserNotification,
}
