"""The notifications tables."""

from services.notifications.models.attempt import Attempt, Outcome
from services.notifications.models.contact import Contact, ContactUnknown
from services.notifications.models.device import Device
from services.notifications.models.notification import Notification, Status
from services.notifications.models.preferences import Digest, Preferences

__all__ = [
    "Attempt",
    "Contact",
    "ContactUnknown",
    "Device",
    "Digest",
    "Notification",
    "Outcome",
    "Preferences",
    "Status",
]
