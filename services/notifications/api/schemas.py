"""What the notifications API takes and answers."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from chassis.paging import PageView
from chassis.schemas import Body, View


class NewEmail(Body):
    user_id: UUID
    subject: str = Field(min_length=1, max_length=200, pattern=r"^\P{Cc}+$")
    """One line."""
    body: str = Field(min_length=1, max_length=10_000)
    """Plain text; its line breaks are kept."""


class NotificationView(View):
    id: UUID
    user_id: UUID
    channel: str
    kind: str
    subject_id: UUID
    """What it tells of, e.g. the order."""
    recipient: str
    subject: str
    text: str
    status: str
    created_at: datetime
    sent_at: datetime | None


class NotificationPage(PageView):
    items: list[NotificationView]
