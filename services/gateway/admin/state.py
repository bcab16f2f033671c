"""/status and /metrics, like Kong's."""

import os
import resource
import socket
from collections.abc import Iterator, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import REGISTRY, Collector

from services.gateway.admin.targets import NODE, health_of
from services.gateway.exchange.responses import SERVER
from services.gateway.plugins.prometheus import Prometheus
from services.gateway.plugins.registry import PLUGINS
from services.gateway.runtime import Runtime

KONG_VERSION = "3.9.3"

COUNTER = "kong_bandwidth_bytes"
"""A gauge to the library, whose counters end in `_total`."""

_STATES = ("healthy", "unhealthy", "dns_error", "healthchecks_off")


def status(runtime: Runtime) -> dict[str, Any]:
    used = {"pid": os.getpid(), "http_allocated_gc": f"{_memory_bytes() / 2**20:.2f} MiB"}
    counted = _connections(runtime)
    return {
        "memory": {"workers_lua_vms": [used], "lua_shared_dicts": {}},
        "server": {
            "connections_accepted": counted["accepted"],
            "connections_active": counted["active"],
            "connections_handled": counted["handled"],
            "connections_reading": counted["reading"],
            "connections_waiting": counted["waiting"],
            "connections_writing": counted["writing"],
            "total_requests": runtime.gateway.total_requests,
        },
        "configuration_hash": runtime.gateway.edge.configuration.hash,
    }


def node() -> dict[str, Any]:
    return {
        "version": KONG_VERSION,
        "edition": "community",
        "tagline": "Welcome to kong",
        "hostname": socket.gethostname(),
        "node_id": NODE,
        "configuration": {"database": "off", "role": "traditional"},
        "plugins": {"available_on_server": dict.fromkeys(sorted(PLUGINS), True), "enabled_in_cluster": []},
    }


def metrics(runtime: Runtime) -> bytes:
    return "".join(line for family in _families(runtime) for line in _lines(family)).encode()


def open_metrics(runtime: Runtime) -> bytes:
    """With exemplars, which Kong has none of."""
    registry = CollectorRegistry()
    registry.register(_Collected(_families(runtime)))
    return bytes(openmetrics.generate_latest(registry))  # type: ignore[no-untyped-call]  # the library's


class _Collected(Collector):
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Sequence[Metric]:
        return self._families


def _families(runtime: Runtime) -> Sequence[Metric]:
    """Without when each series began."""
    found = [*REGISTRY.collect(), *_State(runtime).collect()]
    for family in found:
        family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
    return found


def _lines(family: Metric) -> Iterator[str]:
    """Kong's notation: labels in order, whole numbers without a fraction."""
    name = f"{family.name}_total" if family.type == "counter" else family.name
    kind = "counter" if name == COUNTER else family.type
    yield f"# HELP {name} {family.documentation}\n# TYPE {name} {kind}\n"
    for sample in family.samples:
        labels = ",".join(f'{label}="{_label(label, value)}"' for label, value in sample.labels.items())
        yield f"{sample.name}{f'{{{labels}}}' if labels else ''} {_number(sample.value)}\n"


def _label(name: str, value: str) -> str:
    if name == "le" and value != "+Inf":
        return _number(float(value))
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(value)


class _State(Collector):
    """Read at collection time."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def collect(self) -> Iterator[Metric]:
        runtime = self._runtime
        info = GaugeMetricFamily("kong_node_info", "Kong Node metadata information.", labels=("node_id", "version"))
        info.add_metric((NODE, SERVER), 1)
        yield info
        yield GaugeMetricFamily("kong_datastore_reachable", "Datastore reachable from Kong, 0 is unreachable.", 1)
        # A gauge in Kong, too.
        requests = GaugeMetricFamily(
            "kong_nginx_requests_total", "Total number of requests.", labels=("node_id", "subsystem")
        )
        requests.add_metric((NODE, "http"), runtime.gateway.total_requests)
        yield requests
        labels = ("node_id", "subsystem", "state")
        connections = GaugeMetricFamily(
            "kong_nginx_connections_total", "Number of connections by state.", labels=labels
        )
        for name, value in _connections(runtime).items():
            connections.add_metric((NODE, "http", name), value)
        yield connections
        timers = GaugeMetricFamily("kong_nginx_timers", "Number of timers by state.", labels=("state",))
        for name in ("running", "pending"):
            timers.add_metric((name,), 0)
        yield timers
        memory = GaugeMetricFamily(
            "kong_memory_workers_lua_vms_bytes", "Allocated bytes.", labels=("node_id", "pid", "kong_subsystem")
        )
        memory.add_metric((NODE, str(os.getpid()), "http"), _memory_bytes())
        yield memory
        if any(
            isinstance(plugin, Prometheus) and plugin.shows_upstream_health for plugin in runtime.gateway.edge.plugins
        ):
            yield self._health()

    def _health(self) -> Metric:
        family = GaugeMetricFamily(
            "kong_upstream_target_health",
            "Health status of targets of upstream: 1 for the state that it is in.",
            labels=("upstream", "target", "address", "state", "subsystem"),
        )
        for upstream in self._runtime.gateway.edge.configuration.upstreams.values():
            for target in health_of(self._runtime, upstream):
                addresses = [(a, a["health"]) for a in target["data"]["addresses"]]
                for address, health in addresses or [(None, target["health"])]:
                    where = f"{address['ip']}:{address['port']}" if address else ""
                    for state in _STATES:
                        labels = (upstream.name, target["target"], where, state, "http")
                        family.add_metric(labels, 1 if state == health.lower() else 0)
        return family


def _connections(runtime: Runtime) -> dict[str, int]:
    connections = list(runtime.server.connections)
    waiting = sum(connection.is_idle for connection in connections)
    writing = sum(connection.is_busy for connection in connections)
    accepted = runtime.server.accepted
    return {
        "accepted": accepted,
        "active": len(connections),
        "handled": accepted,
        "reading": len(connections) - waiting - writing,
        "total": runtime.gateway.total_requests,
        "waiting": waiting,
        "writing": writing,
    }


def _memory_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
