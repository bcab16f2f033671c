"""When unfinished work is swept."""

from datetime import datetime, timedelta

SWEEP_AFTER = timedelta(seconds=90)
"""Longer than any wait between a task's attempts."""

MAX_SWEEP_AFTER = timedelta(minutes=10)
"""Old work must not crowd out the rest."""


def next_sweep(now: datetime, changed_at: datetime) -> datetime:
    return now + min(max(SWEEP_AFTER, (now - changed_at) / 4), MAX_SWEEP_AFTER)
