"""What the operators have in common: a resource is read, its next status written, and only then something done.

Of two operators that decide at the same moment one writes, and the other meets a conflict and does nothing. After a crash in
between, the next decision starts from what the cluster has by then.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from chassis.base import failpoints
from operators.kubernetes import FORBIDDEN, Kubernetes, Object, Refused

MAX_UNPOSTED = 100


@dataclass(frozen=True)
class Event:
    reason: str
    message: str
    is_warning: bool = False


@dataclass(frozen=True)
class Change:
    status: Object
    act: Callable[[], None] | None = None
    event: Event | None = None


class Reconciler(Protocol):
    plural: str

    def decide(self, resource: Object, now: datetime) -> Change:
        """May only read."""

    def clear(self, now: datetime) -> dict[str, str]:
        """Takes away what resources that are gone have left; gives the reason why something still is, by name."""
        return {}


class Events:
    """Those that the API server does not take are posted later, in their order. A crash loses them."""

    def __init__(self, kubernetes: Kubernetes) -> None:
        self._kubernetes = kubernetes
        self._unposted: deque[tuple[Object, Event, datetime]] = deque(maxlen=MAX_UNPOSTED)

    def add(self, resource: Object, event: Event, now: datetime) -> None:
        self._unposted.append((resource, event, now))

    def post(self) -> None:
        """Raises Unavailable or Refused."""
        while self._unposted:
            resource, event, now = self._unposted[0]
            try:
                self._kubernetes.post_event(resource, event.reason, event.message, event.is_warning, time_of(now))
            except Refused as refused:
                # What is not allowed now may be soon; another refusal is of this Event.
                if refused.status != FORBIDDEN:
                    self._unposted.popleft()
                raise
            self._unposted.popleft()


def reconcile(
    kubernetes: Kubernetes, events: Events, reconciler: Reconciler, resource: Object, now: datetime
) -> Object:
    """The new status. Raises Conflict, Unavailable or Refused."""
    change = reconciler.decide(resource, now)
    if change.status != resource.get("status"):
        kubernetes.write_status(reconciler.plural, resource, change.status)
    failpoints.point("status written")
    if change.event:
        events.add(resource, change.event, now)
    if change.act:
        change.act()
        failpoints.point("acted")
    return change.status


def conditions(
    resource: Object, type_: str, value: bool | None, reason: str, message: str, now: datetime
) -> list[Object]:
    """The resource's, with this one. value: None if unknown."""
    known: list[Object] = resource.get("status", {}).get("conditions", [])
    status = "Unknown" if value is None else str(value)
    since = next(
        (each["lastTransitionTime"] for each in known if (each["type"], each["status"]) == (type_, status)), None
    )
    new = {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": since or time_of(now),
    }
    return [*(each for each in known if each["type"] != type_), new]


def reason_of(resource: Object, type_: str) -> str:
    """Of the resource's condition; empty at first."""
    known = resource.get("status", {}).get("conditions", [])
    return next((each["reason"] for each in known if each["type"] == type_), "")


def time_of(now: datetime) -> str:
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")
