"""Fixed windows, aligned to the UTC calendar."""

from datetime import UTC, datetime

SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "month": 2_592_000, "year": 31_536_000}
"""Shortest first. Months (30 days) and years (365) begin on calendar dates."""


def start_of(window: str, now: float) -> int:
    """Seconds since the epoch."""
    if window == "month" or window == "year":
        moment = datetime.fromtimestamp(now, UTC)
        first = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return int((first if window == "month" else first.replace(month=1)).timestamp())
    length = SECONDS[window]
    return int(now) // length * length
