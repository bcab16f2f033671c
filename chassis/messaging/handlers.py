"""Message handlers, and what they can learn of their envelope."""

from collections.abc import Callable, Iterator, Sequence
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
    def __init__(self, service: str) -> None:
        self.service = service
        self.by_type: dict[str, Handler] = {}
        self.lock: Callable[[Sequence[Message]], None] = lambda messages: None

    def locking(self, lock: Callable[[Sequence[Any]], None]) -> Callable[[Sequence[Any]], None]:
        """Register what locks the rows that messages are about, before any is handled."""
        self.lock = lock
        return lock

    def on(self, message: type[M]) -> Callable[[Callable[[M], None]], Callable[[M], None]]:
        """Register the only handler of `message`."""

        def register(handler: Callable[[M], None]) -> Callable[[M], None]:
            if message.type in self.by_type:
                raise TypeError(f"{self.service} handles {message.type} twice.")
            self.by_type[message.type] = handler
            return handler

        return register


_current: ContextVar[Envelope] = ContextVar("envelope")


@contextmanager
def receiving(envelope: Envelope) -> Iterator[None]:
    token = _current.set(envelope)
    try:
        yield
    finally:
        _current.reset(token)


def occurred_at() -> datetime:
    """By the sender's clock. Messages may arrive out of order."""
    return _current.get().time


def event_id() -> UUID:
    """The same at each delivery."""
    return _current.get().id
