"""One delivery attempt, logged before and after each provider call, outside any transaction.

A crash may cause a duplicate at the same provider, never at a second one.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

from prometheus_client import Counter, Histogram
from structlog import get_logger

from chassis.base import clock, tracing
from chassis.storage import postgres, store
from services.notifications import links, requested
from services.notifications.channels import providers, push
from services.notifications.channels.message import Message, NotTaken, Provider, Refused, Unknown
from services.notifications.kinds import EMAIL, KINDS, PUSH
from services.notifications.models import Attempt, Device, Notification, Outcome
from services.notifications.requested import REQUESTED
from services.notifications.settings import Settings

log = get_logger(__name__)

ATTEMPTS = Counter(
    "souk_notification_attempts_total",
    "Delivery attempts by outcome.",
    ["kind", "channel", "outcome"],
)

SECONDS = Histogram(
    "souk_notification_delivery_seconds",
    "From when a notification may be sent until a provider has taken it.",
    ["channel"],
    buckets=(0.5, 1, 5, 10, 30, 60, 300, 3600),
)

_OUTCOMES = {Refused: Outcome.REFUSED, NotTaken: Outcome.NOT_TAKEN, Unknown: Outcome.UNKNOWN}


@dataclass(frozen=True)
class Begun:
    """An attempt that is logged."""

    attempt_id: UUID
    provider: str


@dataclass(frozen=True)
class Sent:
    attempt_id: UUID | None = None
    """To be ended with `reference`, the provider's id; None if it is ended."""
    reference: str | None = None


def begin(notification: Notification) -> Begun | None:
    """Log the first attempt in the transaction that takes the row, where its provider is certain."""
    if notification.channel == PUSH or notification.pinned_to or notification.kind in REQUESTED:
        return None
    for first in _alternatives(notification):
        return Begun(Attempt.begin(notification.id, first.name), first.name)
    return None


def send(notification: Notification, begun: Begun | None) -> Sent | None:
    """None if its outcome is recorded. Raises NotTaken or Unknown when a retry may succeed."""
    try:
        message = _message(notification)
        if notification.channel == PUSH:
            _push(notification, message)
            return Sent()
        return _send_to_one_of(_alternatives(notification), notification, message, begun)
    except requested.RequestExpired:
        _record_outcome(notification, "over", lambda row: row.suppress("used or expired"))
    except Refused as refusal:
        error = str(refusal)
        _record_outcome(notification, "refused", lambda row: row.fail(error))
    except (NotTaken, Unknown) as failure:
        error, pinned_to = str(failure), getattr(failure, "provider", None)
        _record_outcome(notification, "postponed", lambda row: row.retry_later(error, pinned_to))
        raise
    return None


def succeed(row: Notification, sent: Sent) -> None:
    """In a transaction that has locked `row`."""
    if sent.attempt_id is not None:
        Attempt.end(sent.attempt_id, Outcome.SENT, sent.reference)
    row.succeed()
    _blank_if_deleted(row)
    postgres.after_commit(partial(_count, row, "sent"))
    _log(row, "sent")


def _alternatives(notification: Notification) -> list[Provider]:
    return providers.alternatives(notification.channel, notification.pinned_to, Settings.current())


def _message(notification: Notification) -> Message:
    """Raises RequestExpired or NotTaken."""
    kind = KINDS[notification.kind]
    message = Message(
        notification.id,
        notification.recipient,
        notification.subject,
        notification.text,
        notification.html,
        notification.created_at,
        links.unsubscribe_url(notification.user_id, kind) if notification.channel == EMAIL else "",
    )
    if notification.kind in REQUESTED:
        return requested.complete(message, notification.kind, notification.user_id, notification.fact)
    return message


def _send_to_one_of(
    alternatives: list[Provider], notification: Notification, message: Message, begun: Begun | None
) -> Sent:
    failure = NotTaken("No provider is configured for this channel.")
    for provider in alternatives:
        try:
            if provider.name == notification.pinned_to and _was_taken(provider, notification, message):
                return Sent()
            attempt_id = begun.attempt_id if begun and begun.provider == provider.name else None
            return _attempt(notification.id, provider.name, partial(provider.send, message), attempt_id=attempt_id)
        except Unknown as unknown:
            unknown.provider = provider.name  # type: ignore[attr-defined]
            raise
        except NotTaken as not_taken:
            providers.mark_unavailable(provider)
            failure = not_taken
    raise failure


def _was_taken(provider: Provider, notification: Notification, message: Message) -> bool:
    reference = provider.find(message, _first_attempt(notification.id))
    if reference is None:
        return False
    with store.transaction():
        attempt_id = Attempt.begin(notification.id, provider.name)
    _end(attempt_id, Outcome.SENT, reference=reference)
    return True


def _first_attempt(notification_id: UUID) -> datetime:
    with store.transaction():
        return min((attempt.started_at for attempt in Attempt.of(notification_id)), default=clock.now())


def _push(notification: Notification, message: Message) -> None:
    settings = Settings.current()
    with store.transaction():
        done = {each.device_id for each in Attempt.of(notification.id) if each.outcome == Outcome.SENT}
        devices = [
            push.Subscription(device.id, device.endpoint, device.p256dh, device.auth)
            for device in Device.of(notification.user_id)
        ]
    reached, failures = len(done), []
    for subscription in devices:
        if subscription.device_id in done:
            continue
        try:
            call = partial(push.send, message, subscription, settings)
            sent = _attempt(notification.id, subscription.service, call, subscription.device_id)
            if sent.attempt_id is not None:
                _end(sent.attempt_id, Outcome.SENT, sent.reference)
            reached += 1
        except push.SubscriptionEnded:
            with store.transaction():
                Device.drop(subscription.device_id)
        except (Refused, NotTaken, Unknown) as failure:
            failures.append(failure)
    again = [failure for failure in failures if not isinstance(failure, Refused)]
    if again:
        raise again[0]
    if not reached:
        raise Refused(str(failures[0]) if failures else "No device is left.")


def _attempt(
    notification_id: UUID,
    provider: str,
    call: Callable[[], str],
    device_id: UUID | None = None,
    attempt_id: UUID | None = None,
) -> Sent:
    if attempt_id is None:
        with store.transaction():
            attempt_id = Attempt.begin(notification_id, provider, device_id)
    try:
        with _traced(provider):
            return Sent(attempt_id, call())
    except push.SubscriptionEnded as ended:
        _end(attempt_id, Outcome.REFUSED, error=f"The subscription has ended ({ended}).")
        raise
    except (Refused, NotTaken, Unknown) as failure:
        _end(attempt_id, _OUTCOMES[type(failure)], error=str(failure))
        raise


def _traced(provider: str) -> AbstractContextManager[object]:
    kind, _, place = provider.partition(" ")
    if kind == "smtp":
        return tracing.call("smtp send", {"network.protocol.name": kind, "server.address": place.partition(":")[0]})
    # Places of the others are accounts, and hosts that a browser named.
    return tracing.call(f"{kind} send", {})


def _end(attempt_id: UUID, outcome: Outcome, reference: str | None = None, error: str | None = None) -> None:
    with store.transaction():
        Attempt.end(attempt_id, outcome, reference, error)


def _record_outcome(notification: Notification, outcome: str, change: Callable[[Notification], None]) -> None:
    with store.transaction():
        row = Notification.get_for_update(notification.id)
        change(row)
        _blank_if_deleted(row)
    _count(row, outcome)
    _log(row, outcome)


def _blank_if_deleted(row: Notification) -> None:
    """The attempts' errors may name the user."""
    if not row.recipient:
        Attempt.blank([row.id])


def _count(row: Notification, outcome: str) -> None:
    ATTEMPTS.labels(row.kind, row.channel, outcome).inc()
    if row.sent_at is not None:
        seconds = (row.sent_at - (row.release_at or row.created_at)).total_seconds()
        SECONDS.labels(row.channel).observe(seconds, tracing.exemplar())


def _log(row: Notification, outcome: str) -> None:
    log.info(
        "delivery attempted", kind=row.kind, channel=row.channel, outcome=outcome, error=row.error, reason=row.reason
    )
