"""The time that everything here is told in."""

from datetime import UTC, datetime


def now() -> datetime:
    return datetime.now(UTC)
