"""The instances to call, by Consul's health checks: the ready ones, else those that are alive.

When none is ready, a dependency of all is down; they still do what they can without it. Calling none would turn half an
outage into a whole one.
"""

from collections.abc import Sequence
from typing import Any


def usable(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries of one service, without critical ones, which are dead or terminating."""
    ready, alive = [], []
    for entry in entries:
        states = {check["Status"] for check in entry.get("Checks", [])}
        if states <= {"passing"}:
            ready.append(entry)
        elif states <= {"passing", "warning"}:
            alive.append(entry)
    return ready or alive
