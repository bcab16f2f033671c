"""Web Push subscriptions, one per browser."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import String, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from chassis.base import clock
from chassis.base.problems import Conflict, NotFound
from chassis.storage import postgres
from services.notifications.models.base import Base

MAX_DEVICES = 20


class Device(Base):
    __tablename__ = "devices"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    endpoint: Mapped[str] = mapped_column(String(1000))
    p256dh: Mapped[str] = mapped_column(String(100))
    auth: Mapped[str] = mapped_column(String(30))
    created_at: Mapped[datetime]

    @classmethod
    def register(cls, user_id: UUID, endpoint: str, p256dh: str, auth: str) -> "Device":
        """A browser whose user changed moves to the new user. Raises Conflict."""
        values = {"user_id": user_id, "p256dh": p256dh, "auth": auth}
        new = insert(cls).values(id=uuid4(), endpoint=endpoint, created_at=clock.now(), **values)
        registered = new.on_conflict_do_update(index_elements=["endpoint"], set_=values).returning(cls)
        device = postgres.session().scalars(registered, execution_options={"populate_existing": True}).one()
        if postgres.session().scalar(select(func.count()).where(cls.user_id == user_id)) > MAX_DEVICES:  # type: ignore[operator]
            raise Conflict(f"You have {MAX_DEVICES} devices already; remove one first.")
        return device

    @classmethod
    def of(cls, user_id: UUID) -> Sequence["Device"]:
        """Oldest first."""
        return (
            postgres.session().scalars(select(cls).where(cls.user_id == user_id).order_by(cls.created_at, cls.id)).all()
        )

    @classmethod
    def remove(cls, user_id: UUID, device_id: UUID) -> None:
        """Raises NotFound."""
        gone = delete(cls).where(cls.user_id == user_id, cls.id == device_id).returning(cls.id)
        if postgres.session().execute(gone).first() is None:
            raise NotFound("Device not found.")

    @classmethod
    def drop(cls, device_id: UUID) -> None:
        postgres.session().execute(delete(cls).where(cls.id == device_id))

    @classmethod
    def erase(cls, user_id: UUID) -> None:
        postgres.session().execute(delete(cls).where(cls.user_id == user_id))
