"""Request and response bodies of the notifications API."""

import hashlib
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from chassis.base.validation import Matches
from chassis.web.fields import OneLine
from chassis.web.pagination import Page, PageView
from chassis.web.schemas import Body, View
from services.notifications.kinds import CHOOSABLE
from services.notifications.models.attempt import Attempt
from services.notifications.models.preferences import Digest


class NewEmail(Body):
    example: ClassVar[dict[str, Any]] = {
        "user_id": "6f1d2c3b-4a59-4e68-8776-95a4b3c2d1e0",
        "subject": "Your parcel",
        "body": "It is on its way.",
    }

    user_id: UUID
    subject: Annotated[str, OneLine(200)]
    body: str = Field(min_length=1, max_length=10_000)
    """Plain text; line breaks are kept."""


class NewSMS(Body):
    example: ClassVar[dict[str, Any]] = {
        "user_id": "6f1d2c3b-4a59-4e68-8776-95a4b3c2d1e0",
        "text": "Your parcel is on its way.",
    }

    user_id: UUID
    text: str = Field(min_length=1, max_length=300)


class NewPush(Body):
    example: ClassVar[dict[str, Any]] = {
        "user_id": "6f1d2c3b-4a59-4e68-8776-95a4b3c2d1e0",
        "title": "Your parcel",
        "body": "It is on its way.",
    }

    user_id: UUID
    title: Annotated[str, OneLine(100)]
    body: str = Field(min_length=1, max_length=300)


class NewMessage(Body):
    """An SMS or push shows the first 300 characters of `body`."""

    example: ClassVar[dict[str, Any]] = {
        "user_id": "6f1d2c3b-4a59-4e68-8776-95a4b3c2d1e0",
        "title": "Your parcel",
        "body": "It is on its way.",
    }

    user_id: UUID
    kind: Literal["staff.message", "marketing.news"] = "staff.message"
    title: Annotated[str, OneLine(200)]
    body: str = Field(min_length=1, max_length=10_000)


class NotificationView(View):
    id: UUID
    user_id: UUID
    channel: str
    kind: str
    subject_id: UUID
    """E.g. the order."""
    recipient: str
    subject: str
    text: str
    status: str
    reason: str | None
    """For deferral or suppression."""
    attempts: int
    created_at: datetime
    release_at: datetime | None
    """If deferred."""
    sent_at: datetime | None


class NotificationsQuery(Page):
    subject_id: UUID | None = None


class NotificationPage(PageView):
    items: list[NotificationView]


class SentView(View):
    """One notification per channel."""

    items: list[NotificationView]


class AttemptView(View):
    provider: str
    outcome: str
    reference: str | None
    error: str | None
    started_at: datetime
    ended_at: datetime | None

    @classmethod
    def of(cls, attempt: Attempt, for_staff: bool) -> Self:
        """`error`, for staff only, may tell of our network."""
        view = cls.model_validate(attempt)
        return view if for_staff else view.model_copy(update={"error": None})


class DeliveryView(NotificationView):
    log: list[AttemptView]
    """Oldest first."""


Clock = Annotated[
    str, Matches("([01][0-9]|2[0-3]):[0-5][0-9]", "must be a time of day such as 22:00"), Field(examples=["22:00"])
]


class QuietHours(BaseModel):
    """Local, may span midnight. Security and money messages are sent anyway."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)

    begin: Clock
    end: Clock

    @model_validator(mode="after")
    def _are_not_empty(self) -> "QuietHours":
        if self.begin == self.end:
            raise ValueError("must begin and end at different times")
        return self


def _zone(value: str) -> str:
    # ZoneInfo would read any file.
    from zoneinfo import available_timezones

    if value not in available_timezones():
        raise ValueError("must be an IANA time zone such as Europe/Berlin")
    return value


Channels = dict[Literal["email", "sms", "push"], bool]


def _choices(value: dict[str, Channels]) -> dict[str, Channels]:
    for name, channels in value.items():
        if name not in CHOOSABLE:
            raise ValueError(f"{name[:50]} is not one of {', '.join(CHOOSABLE)}")
        kind = CHOOSABLE[name]
        for channel, wanted in channels.items():
            if channel in kind.fixed and not wanted:
                raise ValueError(f"{name} by {channel} cannot be turned off")
            if channel not in kind.offered and wanted:
                raise ValueError(f"{name} is not available by {channel}")
    return value


Phone = Annotated[str, Matches(r"\+[1-9][0-9]{6,14}", "must be a number such as +4915112345678")]


class NewPreferences(Body):
    """Omitted fields are reset to their defaults."""

    example: ClassVar[dict[str, Any]] = {
        "channels": {"order.shipped": {"email": True}},
        "phone": "+4915112345678",
        "quiet_hours": {"begin": "22:00", "end": "07:00"},
    }

    channels: Annotated[dict[str, Channels], AfterValidator(_choices)] = Field(
        default_factory=dict, max_length=len(CHOOSABLE), examples=[{"order.shipped": {"email": True, "sms": False}}]
    )
    phone: Phone | None = Field(None, examples=["+4915112345678"])
    """E.164; needed for SMS."""
    quiet_hours: QuietHours | None = None
    time_zone: Annotated[str, Field(max_length=50), AfterValidator(_zone)] | None = None
    """Defaults to the account's."""
    digest: Annotated[Digest, Field(strict=False)] = Digest.NONE
    digest_hour: int = Field(8, ge=0, le=23)


class PreferencesView(View):
    """`own_time_zone` is null while the account's is used."""

    user_id: UUID
    channels: dict[str, dict[str, bool]]
    phone: str | None
    quiet_hours: QuietHours | None
    time_zone: str
    own_time_zone: str | None
    locale: str
    """The account's."""
    marketing_consent: bool
    """Set by PUT /users/{id}/preferences."""
    digest: str
    digest_hour: int

    def etag(self) -> str:
        return hashlib.sha256(self.content()).hexdigest()[:32]


class SubscriptionKeys(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    p256dh: Annotated[str, Matches("B[A-Za-z0-9_-]{86}=?", "must be 65 bytes in base64url, beginning with B")]
    """65 bytes, base64url."""
    auth: Annotated[str, Matches("[A-Za-z0-9_-]{22}(==)?", "must be 16 bytes in base64url")]
    """16 bytes, base64url."""


class NewDevice(Body):
    """A browser's `PushSubscription.toJSON()`."""

    example: ClassVar[dict[str, Any]] = {
        "endpoint": "https://fcm.googleapis.com/fcm/send/example",
        "keys": {"p256dh": "B" + 86 * "A", "auth": 22 * "A"},
    }

    # Push services choose it: by chance it may look like a card's number.
    may_hold_numbers = frozenset({"endpoint"})

    endpoint: Annotated[
        str, Field(min_length=12, max_length=1000), Matches("https?://[!-~]+", "must be an http(s) URL without spaces")
    ]
    keys: SubscriptionKeys
    expirationTime: float | None = None  # noqa: N815 - the browser's name


class DeviceView(View):
    id: UUID
    user_id: UUID
    service: str
    """The push service's host."""
    created_at: datetime


class DeviceList(View):
    items: list[DeviceView]


class PushKeyView(View):
    key: str
    """For `pushManager.subscribe()`."""
