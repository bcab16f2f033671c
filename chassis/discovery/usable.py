"""The instances to call, by Consul's health checks: ready ones, else live ones.

If none is ready, a shared dependency is down, and live ones still do what they can.
"""

from collections.abc import Sequence
from typing import Any

EXPIRED = "TTL expired"
"""Begins Consul's output when a heartbeat is missing."""


def usable(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Never critical ones, which are dead or terminating."""
    ready, alive = [], []
    for entry in entries:
        states = {_state(check, entry) for check in entry.get("Checks", [])}
        if states <= {"passing"}:
            ready.append(entry)
        elif states <= {"passing", "warning"}:
            alive.append(entry)
    return ready or alive


def _state(check: dict[str, Any], entry: dict[str, Any]) -> str:
    """If Consul reaches the instance, only the sidecar hangs."""
    status: str = check["Status"]
    if status == "critical" and check.get("Output", "").startswith(EXPIRED):
        others = [each for each in entry["Checks"] if each.get("ServiceID") and each is not check]
        if others and all(each["Status"] == "passing" for each in others):
            return "warning"
    return status
