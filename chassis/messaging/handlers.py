"""What a service hears: handlers by message, and what they may know of the delivery in hand."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from chassis.messaging.envelope import Envelope
from chassis.messaging.message import Message

Handler = Callable[[Any], None]
M = TypeVar("M", bound=Message)


class Handlers:
    """The handlers of one service; its queue bears the service's name."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.by_type: dict[str, Handler] = {}

    def on(self, message: type[M]) -> Callable[[Callable[[M], None]], Callable[[M], None]]:
        """Register the one handler of `message` in this service."""

        def register(handler: Callable[[M], None]) -> Callable[[M], None]:
            if message.type in self.by_type:
                raise TypeError(f"{self.service} handles {message.type} twice.")
            self.by_type[message.type] = handler
            return handler

        return register


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
