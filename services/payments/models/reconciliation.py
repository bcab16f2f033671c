"""Reconciliations, one per provider and day."""

from datetime import date, datetime
from uuid import UUID, uuid4

from sqlalchemy import String, UniqueConstraint, func, select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Mapped, mapped_column

from chassis.base import clock
from chassis.storage import postgres
from services.payments.models.base import Base


class Reconciliation(Base):
    __tablename__ = "reconciliations"
    __table_args__ = (UniqueConstraint("provider", "day"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    provider: Mapped[str] = mapped_column(String(50))
    day: Mapped[date]
    """UTC."""

    finished_at: Mapped[datetime | None]
    differences: Mapped[list[str] | None] = mapped_column(JSONB)
    """One line each; null until it has run."""

    @classmethod
    def of_today(cls, provider: str) -> UUID | None:
        """The new row's id; None if today has one."""
        row = insert(cls).values(id=uuid4(), provider=provider, day=clock.now().date())
        return postgres.session().scalar(
            row.on_conflict_do_nothing(index_elements=[cls.provider, cls.day]).returning(cls.id)
        )

    @classmethod
    def latest_differences(cls) -> dict[str, int]:
        """How many the last finished one of each provider listed."""
        latest = (
            select(cls.provider, func.jsonb_array_length(cls.differences).label("listed"))
            .where(cls.finished_at.is_not(None))
            .distinct(cls.provider)
            .order_by(cls.provider, cls.day.desc())
        )
        return {row.provider: row.listed for row in postgres.session().execute(latest)}

    @classmethod
    def get_for_update(cls, reconciliation_id: UUID) -> "Reconciliation":
        return postgres.session().scalars(select(cls).where(cls.id == reconciliation_id).with_for_update()).one()
