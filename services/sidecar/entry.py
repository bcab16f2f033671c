"""What Consul is to know of the instance: its entry, and which other entries can only be a former self's."""

from collections.abc import Mapping
from typing import Any

from services.sidecar.instance import LIVENESS, Status
from services.sidecar.settings import Settings

FORGOTTEN_AFTER = "1m"
"""An instance that is ill for so long, with nobody left to take it out, is forgotten by Consul itself; its shortest time."""

STEADY_FAILURES = 2
"""Consul's own look at the instance has to fail so often: one slow answer of a busy machine is no illness."""


def check_id(settings: Settings) -> str:
    """Of the TTL check."""
    return f"{settings.instance}:ready"


def describe(settings: Settings, status: Status) -> dict[str, Any]:
    """The entry of an instance in this condition, as Consul takes it."""
    host, port = settings.address
    scheme = settings.instance_url.partition(":")[0]
    version = [f"v{settings.version}"] if settings.version else []
    return {
        "ID": settings.instance,
        "Name": settings.service,
        "Address": host,
        "Port": port,
        "Tags": ["souk", *version, *filter(None, settings.tags.split(","))],
        "Meta": {"instance": settings.instance, "version": settings.version, "scheme": scheme},
        "Weights": {"Passing": settings.weight, "Warning": 1},
        "Checks": [
            {
                "CheckID": check_id(settings),
                "Name": "The sidecar finds it ready",
                "TTL": f"{settings.ttl_seconds:g}s",
                "Status": status,
                "DeregisterCriticalServiceAfter": FORGOTTEN_AFTER,
            },
            {
                "CheckID": f"{settings.instance}:answers",
                "Name": "It is alive",
                "HTTP": settings.instance_url + LIVENESS,
                "Interval": f"{settings.check_seconds:g}s",
                "Timeout": "2s",
                "FailuresBeforeCritical": STEADY_FAILURES,
                "Status": "critical" if status == "critical" else "passing",
                "DeregisterCriticalServiceAfter": FORGOTTEN_AFTER,
            },
        ],
    }


def former_selves(settings: Settings, entries: Mapping[str, Any]) -> list[str]:
    """Ids of entries that a crash has left: this instance under another id, or this address as it was called before."""
    left = []
    for id_, entry in entries.items():
        is_here = (entry.get("Address"), entry.get("Port")) == settings.address
        is_named = (entry.get("Meta") or {}).get("instance") == settings.instance
        if id_ != settings.instance and (is_named or (is_here and entry.get("Service") == settings.service)):
            left.append(id_)
    return left
