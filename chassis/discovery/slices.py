"""A service's endpoints, from its EndpointSlices and from what a watch of them reports."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

PORT_NAMES = ("http", "https")
"""One of these is called, unless there is a single port."""


@dataclass(frozen=True)
class Endpoint:
    id: str
    """Its pod's name."""

    host: str
    port: int
    is_ready: bool
    is_terminating: bool
    zones: tuple[str, ...]
    """Which it is meant for; empty for all."""


class Slices:
    def __init__(self, zone: str) -> None:
        self.version = ""
        """To watch from; empty: list first."""

        self.changes = 0
        """That watches have reported."""

        self._zone = zone
        self._slices: dict[str, Mapping[str, Any]] = {}

    def replace(self, listed: Mapping[str, Any]) -> None:
        self._slices = {each["metadata"]["name"]: each for each in listed["items"] or ()}
        self.version = listed["metadata"]["resourceVersion"]

    def apply(self, event: Mapping[str, Any]) -> bool:
        """Whether there is something to do: use the endpoints, or list if the watch has lost its version."""
        kind, changed = event["type"], event["object"]
        if kind == "ERROR":
            self.version = ""
            return True
        self.version = changed["metadata"]["resourceVersion"]
        self.changes += kind != "BOOKMARK"
        if kind == "DELETED":
            self._slices.pop(changed["metadata"]["name"], None)
        elif kind != "BOOKMARK":
            self._slices[changed["metadata"]["name"]] = changed
        return kind != "BOOKMARK"

    def endpoints(self) -> list[Endpoint]:
        """Ready ones, else those not terminating; of these our zone's, as kube-proxy chooses them."""
        # A pod may be in two slices for a moment. If it has two addresses, IPv4 wins.
        slices = sorted(self._slices.values(), key=lambda each: str(each["addressType"]), reverse=True)
        found = {(endpoint.id, endpoint.port): endpoint for each in slices for endpoint in _endpoints(each)}.values()
        ready = [each for each in found if each.is_ready]
        usable = ready or [each for each in found if not each.is_terminating]
        near = [each for each in usable if self._zone in each.zones]
        return near if near and all(each.zones for each in usable) else usable


def _endpoints(endpoint_slice: Mapping[str, Any]) -> Iterator[Endpoint]:
    ports = endpoint_slice["ports"] or []
    chosen = [each for each in ports if each.get("name") in PORT_NAMES] or (ports if len(ports) == 1 else [])
    for endpoint in endpoint_slice["endpoints"] or [] if chosen else []:
        address = endpoint["addresses"][0]
        conditions = endpoint.get("conditions") or {}
        yield Endpoint(
            (endpoint.get("targetRef") or {}).get("name") or address,
            address,
            chosen[0]["port"],
            # Missing ones are to be taken so.
            conditions.get("ready", True),
            conditions.get("terminating", False),
            tuple(zone["name"] for zone in (endpoint.get("hints") or {}).get("forZones") or ()),
        )
