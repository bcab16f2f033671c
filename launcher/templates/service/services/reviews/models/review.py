"""Reviews, each owned by the user who created it."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import delete, select
from sqlalchemy.orm import Mapped, mapped_column

from chassis.base import clock
from chassis.base.problems import NotFound
from chassis.security.auth import Caller
from chassis.storage import postgres
from chassis.web.pagination import Page, newest_first
from services.reviews.models.base import Base


class Review(Base):
    __tablename__ = "reviews"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    text: Mapped[str]
    created_at: Mapped[datetime]
    published_at: Mapped[datetime | None]

    @classmethod
    def create(cls, user_id: UUID, text: str) -> "Review":
        review = cls(id=uuid4(), user_id=user_id, text=text, created_at=clock.now())
        postgres.session().add(review)
        return review

    @classmethod
    def find(cls, review_id: UUID) -> "Review | None":
        return postgres.session().get(cls, review_id)

    @classmethod
    def visible_to(cls, caller: Caller, review_id: UUID) -> "Review":
        """Raises NotFound, also for someone else's."""
        review = cls.find(review_id)
        if review is None or not caller.owns(review.user_id):
            raise NotFound("You have no such review.")
        return review

    @classmethod
    def page_of(cls, user_id: UUID, page: Page) -> tuple[Sequence["Review"], str | None]:
        """One page of the user's own, newest first, and the cursor of the next."""
        return newest_first(select(cls).where(cls.user_id == user_id), cls.created_at, cls.id, page)

    @classmethod
    def erase(cls, user_id: UUID) -> None:
        """Delete everything of this user."""
        postgres.session().execute(delete(cls).where(cls.user_id == user_id))

    def publish(self) -> None:
        if self.published_at is None:
            self.published_at = clock.now()

    def delete(self) -> None:
        postgres.session().delete(self)
