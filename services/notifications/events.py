"""What notifications hears: who the users are, and what became of their orders."""

from chassis.inbox import Listener, occurred_at
from chassis.messages import OrderCancelled, OrderConfirmed, UserDeleted, UserRegistered, UserUpdated
from services.notifications import reasons
from services.notifications.models import Contact, Notification
from services.notifications.notify import notify

listener = Listener("notifications")


@listener.on(UserRegistered)
def user_registered(event: UserRegistered) -> None:
    _remember(event)


@listener.on(UserUpdated)
def user_updated(event: UserUpdated) -> None:
    _remember(event)


@listener.on(UserDeleted)
def user_deleted(event: UserDeleted) -> None:
    Contact.forget(event.user_id, occurred_at())
    Notification.forget(event.user_id)


# An order can be confirmed before its customer's registration arrives here, as each service sends on its own: the
# contact's ContactUnknown then has the message tried again.


@listener.on(OrderConfirmed)
def order_confirmed(event: OrderConfirmed) -> None:
    notify(Contact.known(event.user_id), event.type, event.order_id, order=event)


@listener.on(OrderCancelled)
def order_cancelled(event: OrderCancelled) -> None:
    reason = reasons.in_words(event.reason)
    notify(Contact.known(event.user_id), event.type, event.order_id, order=event, reason=reason)


def _remember(event: UserRegistered | UserUpdated) -> None:
    Contact.remember(
        event.user_id, event.email, event.username, event.first_name, event.last_name, said_at=occurred_at()
    )
