"""What a service hears: handlers by message, each message handled once however often it arrives."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Column, DateTime, Table, Uuid
from sqlalchemy.dialects.postgresql import insert

from chassis import db
from chassis.messages import Envelope, Message

inbox = Table(
    "inbox",
    db.metadata,
    Column("message_id", Uuid, primary_key=True),
    Column("received_at", DateTime(timezone=True), nullable=False, index=True),
)

Handler = Callable[[Any], None]
M = TypeVar("M", bound=Message)


class Listener:
    """The handlers of one service; its queue bears the service's name."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.handlers: dict[str, Handler] = {}

    def on(self, message: type[M]) -> Callable[[Callable[[M], None]], Callable[[M], None]]:
        """Register the one handler of `message` in this service."""

        def register(handler: Callable[[M], None]) -> Callable[[M], None]:
            if message.type in self.handlers:
                raise TypeError(f"{self.service} handles {message.type} twice.")
            self.handlers[message.type] = handler
            return handler

        return register


def first_time(message_id: UUID) -> bool:
    """Whether the present transaction is the first to see this message; it is remembered if the transaction commits.

    A second delivery at the same time waits here for the first one's commit.
    """
    statement = insert(inbox).values(message_id=message_id, received_at=db.now()).on_conflict_do_nothing()
    return db.session().execute(statement.returning(inbox.c.message_id)).first() is not None


_in_hand: ContextVar[Envelope] = ContextVar("envelope")


@contextmanager
def receiving(envelope: Envelope) -> Iterator[None]:
    """The block handles this message."""
    token = _in_hand.set(envelope)
    try:
        yield
    finally:
        _in_hand.reset(token)


def occurred_at() -> datetime:
    """When that happened which the message in hand tells, by its sender's clock: late news must not undo later ones."""
    return _in_hand.get().time


def event_id() -> UUID:
    """The identity of the message in hand, the same at each of its deliveries."""
    return _in_hand.get().id
