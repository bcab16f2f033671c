"""The caller's deadline, passed on as the time left: machines' clocks need not agree."""

import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from chassis.base.problems import Problem

HEADER = "X-Request-Timeout-Ms"

ENVIRON = "HTTP_" + HEADER.upper().replace("-", "_")


class DeadlineExceeded(Problem):
    type, status, title = "/problems/deadline-exceeded", 504, "Request timed out"


@dataclass(frozen=True)
class _Deadline:
    at: float
    is_callers: bool


_NUMBER = re.compile("[0-9]{1,9}")
_deadline: ContextVar[_Deadline | None] = ContextVar("deadline", default=None)


@contextmanager
def within(seconds: float, is_callers: bool = False) -> Iterator[None]:
    """Never extends an earlier deadline."""
    current = _deadline.get()
    new = _Deadline(time.monotonic() + seconds, is_callers)
    token = _deadline.set(new if current is None or new.at < current.at else current)
    try:
        yield
    finally:
        _deadline.reset(token)


def of_request(header: str | None, timeout_seconds: float) -> AbstractContextManager[None]:
    """At most `timeout_seconds`; a malformed header is ignored."""
    requested = int(header) / 1000 if header is not None and _NUMBER.fullmatch(header) else None
    if requested is not None and requested <= timeout_seconds:
        return within(requested, is_callers=True)
    return within(timeout_seconds)


def remaining() -> float | None:
    """Seconds, at least 0; None without a deadline."""
    current = _deadline.get()
    return None if current is None else max(0.0, current.at - time.monotonic())


def callers_remaining() -> float | None:
    """None for a deadline of our own."""
    current = _deadline.get()
    return remaining() if current is not None and current.is_callers else None


def is_over() -> bool:
    return remaining() == 0.0


def check() -> None:
    """Raises DeadlineExceeded."""
    if is_over():
        raise DeadlineExceeded("The request ran out of time before its work began.")
