"""What operators did: who, what, why, when, and how it ended. Kept for ever, by the service that acts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

FAILED = "failed"
"""The outcome of what may be tried again."""


TERMINAL = UUID(int=0)
"""Instead of an operator's id, for what was done by `./souk`. The user of the machine stands before the reason."""


@dataclass(frozen=True)
class Action:
    """`outcome`: None while it runs, and after a crash in its midst."""

    id: UUID
    """Of the operator's request: repeated, it is one action."""

    by: UUID
    name: str
    subject: str
    why: str
    at: datetime
    outcome: str | None = None


class Trail(Protocol):
    """Each call runs in a transaction."""

    def begin(self, action: Action) -> Action | None:
        """What is kept of it, if it was begun before and has not failed. Waits for a concurrent one."""
        ...

    def end(self, action_id: UUID, outcome: str) -> None: ...

    def newest(self, limit: int, subject: str | None = None) -> Sequence[Action]: ...
