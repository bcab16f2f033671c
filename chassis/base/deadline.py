"""How long the caller of the present work still waits: set at the edge, handed on by every call, and never worked past.

The header carries the time that is left, not a moment, so that two machines' clocks need not agree.
"""

import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from chassis.base.problems import Problem

HEADER = "X-Request-Timeout-Ms"
"""Milliseconds for which the sender will wait for the answer."""

ENVIRON = "HTTP_" + HEADER.upper().replace("-", "_")
"""The header's name in a WSGI environment."""


class TooLate(Problem):
    type, status, title = "/problems/too-late", 504, "Request timed out"


@dataclass(frozen=True)
class _Deadline:
    at: float
    is_callers: bool


_NUMBER = re.compile("[0-9]{1,9}")
_deadline: ContextVar[_Deadline | None] = ContextVar("deadline", default=None)


@contextmanager
def within(seconds: float, is_callers: bool = False) -> Iterator[None]:
    """Work in the block has so many seconds, or fewer if it already had fewer. is_callers: a caller has said so."""
    present = _deadline.get()
    new = _Deadline(time.monotonic() + seconds, is_callers)
    token = _deadline.set(new if present is None or new.at < present.at else present)
    try:
        yield
    finally:
        _deadline.reset(token)


def of_request(header: str | None, patience_seconds: float) -> AbstractContextManager[None]:
    """`within` what the request's header says, or our own patience. Clients may send anything: only less time is had for it."""
    told = int(header) / 1000 if header is not None and _NUMBER.fullmatch(header) else None
    if told is not None and told <= patience_seconds:
        return within(told, is_callers=True)
    return within(patience_seconds)


def remaining() -> float | None:
    """Seconds that are left, 0 when they are over; None where there is no hurry."""
    present = _deadline.get()
    return None if present is None else max(0.0, present.at - time.monotonic())


def callers_remaining() -> float | None:
    """The same where a caller has set the limit, None where only we ourselves have."""
    present = _deadline.get()
    return remaining() if present is not None and present.is_callers else None


def is_over() -> bool:
    return remaining() == 0.0


def check() -> None:
    """Raises TooLate when nobody waits for the answer any more."""
    if is_over():
        raise TooLate("The request ran out of time before its work began.")
