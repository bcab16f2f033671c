"""Probes the instance."""

import http.client
import ssl
from typing import Literal, NamedTuple

from chassis.base.parsing import parse_json
from services.sidecar.http import exchange

TIMEOUT_SECONDS = 2.0
READINESS, LIVENESS = "/health/ready", "/health/live"

Status = Literal["passing", "warning", "critical"]
"""Ready, alive but not ready, dead."""


class Condition(NamedTuple):
    status: Status
    in_flight: int | None
    """None if unreported."""

    reason: str

    @property
    def is_ready(self) -> bool:
        return self.status == "passing"


def probe(url: str, tls: ssl.SSLContext | None = None) -> Condition:
    try:
        status, body = exchange("GET", url + READINESS, TIMEOUT_SECONDS, tls=tls)
    except (OSError, http.client.HTTPException) as error:
        # It may be waiting for a slow dependency.
        reason = f"no response from {READINESS}: {type(error).__name__}"
        return Condition("warning" if _is_alive(url, tls) else "critical", None, reason)
    try:
        in_flight = int(parse_json(body)["in_flight"])
    except (ValueError, TypeError, KeyError, OverflowError):
        in_flight = None
    if status == 200:
        return Condition("passing", in_flight, "ready")
    return Condition("warning", in_flight, f"status {status}: {body[:300].decode(errors='replace')}")


def _is_alive(url: str, tls: ssl.SSLContext | None) -> bool:
    try:
        return exchange("GET", url + LIVENESS, TIMEOUT_SECONDS, tls=tls)[0] == 200
    except (OSError, http.client.HTTPException):
        return False
