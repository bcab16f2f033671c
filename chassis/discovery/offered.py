"""Which instances of Consul's health API are called: the ready ones, else those that are at least alive.

Where no instance is ready, what all of them lack is away; what they can do without it they still do, and the rest they
refuse by saying when to return. Not calling them would make half an outage a whole one.
"""

from collections.abc import Sequence
from typing import Any


def offered(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the entries of one service, those with the best condition; never one that is critical: dead, or about to go."""
    ready, alive = [], []
    for entry in entries:
        conditions = {check["Status"] for check in entry.get("Checks", [])}
        if conditions <= {"passing"}:
            ready.append(entry)
        elif conditions <= {"passing", "warning"}:
            alive.append(entry)
    return ready or alive
