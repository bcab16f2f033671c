"""When the sweeper picks up unfinished work."""

from datetime import datetime, timedelta

SWEEP_AFTER = timedelta(seconds=90)
"""Longer than a task's longest wait between two attempts."""

MAX_SWEEP_AFTER = timedelta(minutes=10)
"""For work that has been unfinished for long, which must not crowd out the rest."""


def next_sweep(now: datetime, changed_at: datetime) -> datetime:
    """The later, the longer ago the work last changed."""
    return now + min(max(SWEEP_AFTER, (now - changed_at) / 4), MAX_SWEEP_AFTER)
