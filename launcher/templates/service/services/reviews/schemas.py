"""Requests and responses of the reviews API."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from pydantic import Field

from chassis.web.pagination import PageView
from chassis.web.schemas import Body, View


class NewReview(Body):
    example: ClassVar[dict[str, Any]] = {"text": "The first of them."}

    text: str = Field(min_length=1, max_length=1_000)


class ReviewView(View):
    """`published_at` is null until the review is published."""

    id: UUID
    user_id: UUID
    text: str
    created_at: datetime
    published_at: datetime | None


class ReviewPage(PageView):
    items: list[ReviewView]
