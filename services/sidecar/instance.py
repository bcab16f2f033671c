"""The instance beside which the sidecar stands, as it says itself."""

import http.client
import json
from typing import Literal, NamedTuple

from services.sidecar.http import exchange

TIMEOUT_SECONDS = 2.0
READINESS, LIVENESS = "/health/ready", "/health/live"

Status = Literal["passing", "warning", "critical"]
"""In Consul's words: ready, alive without being ready, neither."""


class Condition(NamedTuple):
    status: Status
    in_flight: int | None
    """Requests it has in hand; None where it does not say."""

    reason: str

    @property
    def is_ready(self) -> bool:
        return self.status == "passing"


def look(url: str) -> Condition:
    """How the instance at `url` is."""
    try:
        status, body = exchange("GET", url + READINESS, TIMEOUT_SECONDS)
    except (OSError, http.client.HTTPException) as error:
        # What it stands on may keep its readiness waiting for longer than we do.
        reason = f"does not say whether it is ready: {type(error).__name__}"
        return Condition("warning" if _lives(url) else "critical", None, reason)
    try:
        said = json.loads(body)
        in_flight = int(said["in_flight"])
    except (ValueError, TypeError, KeyError):
        in_flight = None
    if status == 200:
        return Condition("passing", in_flight, "ready")
    return Condition("warning", in_flight, f"answers {status}: {body[:300].decode(errors='replace')}")


def _lives(url: str) -> bool:
    try:
        return exchange("GET", url + LIVENESS, TIMEOUT_SECONDS)[0] == 200
    except (OSError, http.client.HTTPException):
        return False
