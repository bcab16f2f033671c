"""Rows whose work was abandoned."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID


@dataclass(frozen=True)
class DeadRow:
    id: UUID
    type: str
    since: datetime
    error: str
    details: dict[str, Any] = field(default_factory=dict)
    """Without secrets."""


class DeadRows(Protocol):
    """Each call runs in a transaction."""

    def count(self) -> int: ...

    def rows(self, limit: int) -> Sequence[DeadRow]:
        """Oldest first, without details."""
        ...

    def row(self, row_id: UUID) -> DeadRow | None:
        """None when it is no longer dead."""
        ...

    def replay(self, row_id: UUID) -> None:
        """Raises NotFound when it is no longer dead."""
        ...
