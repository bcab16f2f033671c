"""Whether and when to send."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from services.notifications.kinds import EMAIL, Kind
from services.notifications.models import Contact, Digest, Notification, Preferences, Status
from services.notifications.models.notification import DIGEST
from services.notifications.settings import Settings

CAP_WINDOW = timedelta(hours=1)
MAX_WAIT = timedelta(days=1)
"""Dropped if the cap delays it for longer."""


@dataclass(frozen=True)
class Plan:
    status: Status
    reason: str | None = None
    release_at: datetime | None = None


def plan(contact: Contact, preferences: Preferences, kind: Kind, channel: str, at: datetime) -> Plan:
    """`contact` is locked."""
    if contact.is_deleted:
        return Plan(Status.SUPPRESSED, "deleted")
    if kind.wants_consent and not contact.marketing_consent:
        return Plan(Status.SUPPRESSED, "no consent to marketing")
    if not kind.is_internal and not preferences.wants(kind, channel):
        return Plan(Status.SUPPRESSED, "turned off")
    zone = preferences.zone(contact.time_zone)
    if kind.collectable and channel == EMAIL and preferences.digest != Digest.NONE:
        return Plan(Status.DEFERRED, DIGEST, after_quiet_hours(preferences, zone, next_digest(preferences, zone, at)))
    release, reason = at, None
    if kind.waits:
        release = after_quiet_hours(preferences, zone, at)
        reason = "quiet hours" if release > at else None
    if kind.is_capped:
        capped = _under_cap(contact, channel, release)
        if capped > release:
            release, reason = after_quiet_hours(preferences, zone, capped) if kind.waits else capped, "rate cap"
    if reason == "rate cap" and (kind.wants_consent or release - at > MAX_WAIT):
        return Plan(Status.SUPPRESSED, reason)
    return Plan(Status.DEFERRED, reason, release) if release > at else Plan(Status.PENDING)


def after_quiet_hours(preferences: Preferences, zone: ZoneInfo, at: datetime) -> datetime:
    begin, end = preferences.quiet_from, preferences.quiet_until
    if begin is None or end is None:
        return at
    local = at.astimezone(zone)
    clock = local.time()
    over_midnight = begin > end
    is_quiet = (clock >= begin or clock < end) if over_midnight else begin <= clock < end
    if not is_quiet:
        return at
    day = local.date() + timedelta(days=1 if over_midnight and clock >= begin else 0)
    # The same pass through an hour repeated by the clock change.
    return max(at, datetime.combine(day, end, zone).replace(fold=local.fold).astimezone(UTC))


def next_digest(preferences: Preferences, zone: ZoneInfo, at: datetime) -> datetime:
    """After `at`."""
    if preferences.digest == Digest.HOURLY:
        return at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    local = at.astimezone(zone)
    due = local.replace(hour=preferences.digest_hour, minute=0, second=0, microsecond=0, fold=0)
    if due <= local:
        due += timedelta(days=1)
    return due.astimezone(UTC)


def _under_cap(contact: Contact, channel: str, release: datetime) -> datetime:
    maximum = Settings.current().max_per_hour[channel]
    earlier = Notification.nth_latest_release(contact.user_id, channel, maximum, release - CAP_WINDOW)
    return max(release, earlier + CAP_WINDOW) if earlier is not None else release
