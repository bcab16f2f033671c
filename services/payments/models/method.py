"""Saved payment methods."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import String, UniqueConstraint, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from chassis.base import clock
from chassis.base.problems import Conflict, NotFound
from chassis.security.auth import Caller
from chassis.storage import postgres
from services.payments.models.base import Base

MAX_METHODS = 20
"""Per user."""


class TooManyMethods(Conflict):
    type, title = "/problems/too-many-payment-methods", "Too many payment methods"


class PaymentMethod(Base):
    __tablename__ = "payment_methods"
    __table_args__ = (UniqueConstraint("user_id", "token"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID]
    token: Mapped[str] = mapped_column(String(64))
    label: Mapped[str] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(default=clock.now)

    @classmethod
    def save(cls, user_id: UUID, token: str, label: str) -> "PaymentMethod":
        """Raises TooManyMethods."""
        row = insert(cls).values(id=uuid4(), user_id=user_id, token=token, label=label, created_at=clock.now())
        upsert = row.on_conflict_do_update(index_elements=[cls.user_id, cls.token], set_={"label": label}).returning(
            cls
        )
        method = postgres.session().scalars(upsert).one()
        count = postgres.session().scalar(select(func.count()).where(cls.user_id == user_id)) or 0
        if count > MAX_METHODS:
            raise TooManyMethods(f"You have {MAX_METHODS} payment methods. Remove one first.")
        return method

    @classmethod
    def of_user(cls, user_id: UUID) -> Sequence["PaymentMethod"]:
        """Newest first."""
        query = select(cls).where(cls.user_id == user_id).order_by(cls.created_at.desc(), cls.id)
        return postgres.session().scalars(query.limit(MAX_METHODS)).all()

    @classmethod
    def visible_to(cls, caller: Caller, method_id: UUID) -> "PaymentMethod":
        """Raises NotFound, also for another user's."""
        method = postgres.session().get(cls, method_id)
        if method is None or not caller.owns(method.user_id):
            raise NotFound("You have no payment method with this id.")
        return method

    def delete(self) -> None:
        postgres.session().delete(self)
