"""Whom we can reach, and what we told them."""

from services.notifications.models.contact import Contact, ContactUnknown
from services.notifications.models.notification import Notification, Status

__all__ = ["Contact", "ContactUnknown", "Notification", "Status"]
