"""When unfinished work that nobody moves is taken up again."""

from datetime import datetime, timedelta

PATIENCE = timedelta(seconds=90)
"""How long the sweeper leaves unfinished work alone: longer than a task's longest wait between two tries."""

MAX_PATIENCE = timedelta(minutes=10)
"""The same for what has been unfinished for long, so that what is hopeless does not crowd out the rest."""


def next_look(now: datetime, moved_at: datetime) -> datetime:
    """The later, the longer ago the work last moved."""
    return now + min(max(PATIENCE, (now - moved_at) / 4), MAX_PATIENCE)
