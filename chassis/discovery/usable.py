"""Which instances to call, by Consul's health checks: the ready ones, or where there is none, those that are at least alive.

When no instance is ready, a dependency of all of them is down; they still do what they can without it and refuse the
rest properly. Calling none of them would turn half an outage into a whole one.
"""

from collections.abc import Sequence
from typing import Any


def usable(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of one service's entries, those in the best state; never a critical one, which is dead or terminating."""
    ready, alive = [], []
    for entry in entries:
        states = {check["Status"] for check in entry.get("Checks", [])}
        if states <= {"passing"}:
            ready.append(entry)
        elif states <= {"passing", "warning"}:
            alive.append(entry)
    return ready or alive
