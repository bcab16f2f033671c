"""The instance beside which the sidecar stands, as it says itself."""

import http.client
import json
from typing import NamedTuple

from services.sidecar.http import exchange

TIMEOUT_SECONDS = 2.0
READINESS = "/health/ready"


class Condition(NamedTuple):
    is_ready: bool
    in_flight: int | None
    """Requests it has in hand; None where it does not answer, or does not say."""

    reason: str


def look(url: str) -> Condition:
    """How the instance at `url` is."""
    try:
        status, body = exchange("GET", url + READINESS, TIMEOUT_SECONDS)
    except (OSError, http.client.HTTPException) as error:
        return Condition(False, None, f"does not answer: {type(error).__name__}")
    try:
        said = json.loads(body)
        in_flight = int(said["in_flight"])
    except (ValueError, TypeError, KeyError):
        in_flight = None
    if status == 200:
        return Condition(True, in_flight, "ready")
    return Condition(False, in_flight, f"answers {status}: {body[:300].decode(errors='replace')}")
