"""Reactions to events."""

from chassis.messaging.handlers import Handlers, event_id, occurred_at
from contracts.orders import OrderCancelled, OrderConfirmed, OrderDelivered, OrderRefunded, OrderShipped
from contracts.reasons import Audience, Reader
from contracts.stock import StockLow
from contracts.users import (
    EmailVerificationRequested,
    EmailVerified,
    PasswordChanged,
    PasswordResetRequested,
    RegistrationRepeated,
    UserDeleted,
    UserPreferencesUpdated,
    UserRegistered,
    UserUpdated,
)
from services.notifications.content import parse_locale
from services.notifications.models import Contact, Device, Notification, Preferences
from services.notifications.notify import notify, notify_staff

handlers = Handlers("notifications")


@handlers.on(UserRegistered)
def user_registered(event: UserRegistered) -> None:
    _update_contact(event)


@handlers.on(UserUpdated)
def user_updated(event: UserUpdated) -> None:
    _update_contact(event)


@handlers.on(EmailVerified)
def email_verified(event: EmailVerified) -> None:
    Contact.get_for_update(event.user_id).verify(event.email)


@handlers.on(UserDeleted)
def user_deleted(event: UserDeleted) -> None:
    Contact.erase(event.user_id, occurred_at())
    Notification.erase(event.user_id)
    Preferences.erase(event.user_id)
    Device.erase(event.user_id)


# Events may precede the registration; ContactUnknown has them retried.


@handlers.on(UserPreferencesUpdated)
def user_preferences_updated(event: UserPreferencesUpdated) -> None:
    contact = Contact.get_for_update(event.user_id)
    contact.set_preferences(event.locale, event.time_zone, event.marketing_consent, at=occurred_at())


# The token is fetched just before sending.


@handlers.on(EmailVerificationRequested)
def email_verification_requested(event: EmailVerificationRequested) -> None:
    notify(
        Contact.get_for_update(event.user_id),
        "account.email_verification",
        event.user_id,
        fact_id=event.request_id,
        link="",
    )


@handlers.on(PasswordResetRequested)
def password_reset_requested(event: PasswordResetRequested) -> None:
    notify(
        Contact.get_for_update(event.user_id),
        "account.password_reset",
        event.user_id,
        fact_id=event.request_id,
        link="",
    )


@handlers.on(RegistrationRepeated)
def registration_repeated(event: RegistrationRepeated) -> None:
    contact = Contact.get_for_update(event.user_id)
    notify(contact, "account.registration_repeated", event.user_id, fact_id=event_id())


@handlers.on(PasswordChanged)
def password_changed(event: PasswordChanged) -> None:
    contact = Contact.get_for_update(event.user_id)
    notify(contact, "account.password_changed", event.user_id, fact_id=event_id(), at=occurred_at())


@handlers.on(OrderConfirmed)
def order_confirmed(event: OrderConfirmed) -> None:
    notify(Contact.get_for_update(event.user_id), event.type, event.order_id, order=event)


@handlers.on(OrderCancelled)
def order_cancelled(event: OrderCancelled) -> None:
    contact = Contact.get_for_update(event.user_id)
    reader = Reader(Audience.CUSTOMER, parse_locale(contact.locale).language)
    reason, note = reader.text(event.reason), reader.note(event.note)
    notify(contact, event.type, event.order_id, order=event, reason=reason, note=note)


@handlers.on(OrderShipped)
def order_shipped(event: OrderShipped) -> None:
    notify(Contact.get_for_update(event.user_id), event.type, event.order_id, order=event)


@handlers.on(OrderDelivered)
def order_delivered(event: OrderDelivered) -> None:
    notify(Contact.get_for_update(event.user_id), event.type, event.order_id, order=event)


@handlers.on(OrderRefunded)
def order_refunded(event: OrderRefunded) -> None:
    # Partial refunds are separate facts.
    note = Reader(Audience.CUSTOMER).note(event.note)
    notify(
        Contact.get_for_update(event.user_id), event.type, event.order_id, fact_id=event_id(), order=event, note=note
    )


@handlers.on(StockLow)
def stock_low(event: StockLow) -> None:
    notify_staff(event.type, event.product_id, event_id(), stock=event)


def _update_contact(event: UserRegistered | UserUpdated) -> None:
    Contact.upsert(event.user_id, event.email, event.username, event.first_name, event.last_name, at=occurred_at())
