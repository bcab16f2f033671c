"""The instances to call, by Consul's health checks: the ready ones, else those that are alive.

When none is ready, a dependency of all is down; they still do what they can without it. Calling none would turn half an
outage into a whole one.
"""

from collections.abc import Sequence
from typing import Any

EXPIRED = "TTL expired"
"""How Consul's output begins when a heartbeat is missing."""


def usable(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries of one service, without critical ones, which are dead or terminating."""
    ready, alive = [], []
    for entry in entries:
        states = {_state(check, entry) for check in entry.get("Checks", [])}
        if states <= {"passing"}:
            ready.append(entry)
        elif states <= {"passing", "warning"}:
            alive.append(entry)
    return ready or alive


def _state(check: dict[str, Any], entry: dict[str, Any]) -> str:
    """Its status. A missing heartbeat only shows that the sidecar hangs, if Consul itself reaches the instance."""
    status: str = check["Status"]
    if status == "critical" and check.get("Output", "").startswith(EXPIRED):
        others = [each for each in entry["Checks"] if each.get("ServiceID") and each is not check]
        if others and all(each["Status"] == "passing" for each in others):
            return "warning"
    return status
