"""Aware UTC time."""

from datetime import UTC, datetime, timedelta

LEEWAY = timedelta(seconds=10)
"""How far machines' clocks may differ. Whoever judges a moment that another machine has set allows for it."""


def now() -> datetime:
    return datetime.now(UTC)


def after(earlier: datetime | None) -> datetime:
    """Now, but later than `earlier`, which a faster clock may have set."""
    moment = now()
    return moment if earlier is None or earlier < moment else earlier + timedelta(microseconds=1)
