"""The instance's entry in Consul."""

from collections.abc import Mapping
from typing import Any

from services.sidecar.instance import LIVENESS, Status
from services.sidecar.settings import Settings

DEREGISTER_AFTER = "1m"
"""Consul's minimum."""

FAILURES_BEFORE_CRITICAL = 2
"""One slow response is not a failure."""


def check_id(settings: Settings) -> str:
    return f"{settings.instance}:ready"


def describe(settings: Settings, status: Status) -> dict[str, Any]:
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
                "Name": "Readiness, reported by the sidecar",
                "TTL": f"{settings.ttl_seconds:g}s",
                "Status": status,
                # No removal: if the sidecar hangs, the instance still serves.
            },
            {
                "CheckID": f"{settings.instance}:live",
                "Name": "Liveness, probed by Consul",
                "HTTP": settings.instance_url + LIVENESS,
                # Consul does not know our CA. The sidecar does, and reports the readiness.
                "TLSSkipVerify": scheme == "https",
                "Interval": f"{settings.check_seconds:g}s",
                "Timeout": "2s",
                "FailuresBeforeCritical": FAILURES_BEFORE_CRITICAL,
                "Status": "critical" if status == "critical" else "passing",
                "DeregisterCriticalServiceAfter": DEREGISTER_AFTER,
            },
        ],
        **({"Connect": {"SidecarService": _proxy(settings)}} if settings.proxy_port else {}),
    }


def _proxy(settings: Settings) -> dict[str, Any]:
    """Whom a mesh's callers find: as long as it listens, and the instance is ready."""
    host, _ = settings.address
    return {
        "Port": settings.proxy_port,
        "Checks": [
            {"Name": "The instance", "AliasService": settings.instance},
            {
                "Name": "The proxy, probed by Consul",
                "TCP": f"{host}:{settings.proxy_port}",
                "Interval": f"{settings.check_seconds:g}s",
                "Timeout": "2s",
                # Consul's default would keep callers away until its first probe.
                "Status": "passing",
            },
        ],
    }


def stale_ids(settings: Settings, entries: Mapping[str, Any]) -> list[str]:
    """This instance under another id, or its service at this address."""
    stale = []
    for id_, entry in entries.items():
        same_address = (entry.get("Address"), entry.get("Port")) == settings.address
        same_instance = (entry.get("Meta") or {}).get("instance") == settings.instance
        is_other = id_ != settings.instance and not entry.get("Kind")
        if is_other and (same_instance or (same_address and entry.get("Service") == settings.service)):
            stale.append(id_)
    return stale
