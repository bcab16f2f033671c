"""A service of two releases: the test plays the controller of its Deployments, and the kubelet and the keeper of each edge."""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import urllib3

from chassis.base import health
from operators.canary import figures as canary_figures
from operators.canary.canary import CONFIGURED
from operators.canary.objects import COMPONENT, EDGE, NAME, ROLES, WEIGHTS
from operators.reconciler import time_of
from tests.kubernetes import Refused
from tests.operators.conftest import Figures, Namespace

SERVICE, CANARY = "orders", "canaries/orders"
WAIT_SECONDS = 120
INTERVAL_SECONDS = 1
LONG_SECONDS = 3600
"""Nothing is judged."""

APPS = "apps/v1"
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
AWAY = (Refused, urllib3.exceptions.HTTPError, ValueError)
"""The server is restarted, or a Deployment is deleted meanwhile."""


def a_service(namespace: Namespace, service: str = SERVICE, version: int = 1, **replicas: int) -> None:
    """As the chart has it. replicas: by role."""
    for role, count in replicas.items():
        labels = {NAME: service, COMPONENT: role}
        environment = [{"name": "SOUK_VERSION", "value": f"{version}"}]
        namespace.deployment(f"{service}-{role}", count, labels=labels, image=f"souk:{version}", env=environment)


def a_canary(namespace: Namespace, **spec: Any) -> None:
    release = {"image": "souk:2", "version": "2", "intervalSeconds": INTERVAL_SECONDS}
    namespace.make("Canary", SERVICE, **release | spec)


def measured(figures: Figures, namespace: Namespace, **by_version: tuple[int, int, int]) -> None:
    """Requests and messages alike: all, failed and slow; names are v1 and v2."""
    figures.values = {}
    for version, (count, failed, slow) in by_version.items():
        values = {"count": count, "failed": failed, "timed": count, "fast": count - slow}
        for kind in (canary_figures.REQUESTS, canary_figures.MESSAGES):
            labels = {"namespace": namespace.name, "app": SERVICE}
            found = canary_figures.queries(kind, labels, version.removeprefix("v"), INTERVAL_SECONDS)
            figures.values |= {found[name]: value for name, value in values.items()}


class Cluster:
    """Each round settles Deployments and brings edges their weights, except those held back."""

    def __init__(self, namespace: Namespace, edges: Sequence[str] = ("gateway-a", "gateway-b")) -> None:
        self.namespace, self.held_back = namespace, set[str]()
        """Names of Deployments and edges."""
        self.weights: dict[str, dict[str, dict[str, int]]] = {name: {} for name in edges}
        self.seen: list[tuple[int, int, int]] = []
        """Percent of requests for the canary at most, and its ready web pods and workers, in each round."""
        self._servers = [self._edge(name) for name in edges]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def edge_pod(self, name: str, port: int, is_ready: bool = True, labels: Mapping[str, str] = EDGE) -> None:
        """It is reached at this port of ours. Not ready: for a long time."""
        ports = [{"name": "keys", "containerPort": port}]
        containers = [{"name": "keys", "image": "souk", "ports": ports}]
        self._pod(name, labels, containers, LONG_AGO if not is_ready else None)

    def canary_pod(self, name: str, unready_since: datetime | None = None, ended_at: datetime | None = None) -> None:
        """Of its web program, which runs again when it has ended."""
        last = {"terminated": {"exitCode": 137, "finishedAt": time_of(ended_at)}} if ended_at else {}
        container = {"name": "web", "image": "souk:2", "imageID": "", "ready": True, "restartCount": 1}
        self._pod(
            name,
            {NAME: SERVICE, COMPONENT: "web-canary"},
            [{"name": "web", "image": "souk:2"}],
            unready_since,
            containerStatuses=[{**container, "lastState": last}],
        )

    def _pod(
        self, name: str, labels: Mapping[str, str], containers: Any, unready_since: datetime | None, **status: Any
    ) -> None:
        self.namespace.apply("v1", "Pod", name, labels, {"nodeName": "node", "containers": containers})
        ready = {
            "type": "Ready",
            "status": "False" if unready_since else "True",
            "lastTransitionTime": time_of(unready_since or LONG_AGO),
        }
        address = "127.0.0.1"
        status |= {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": [ready]}
        self.namespace.patch(f"pods/{name}/status", {"status": status}, "v1")

    def percents(self) -> list[int]:
        """In order, each once."""
        found = [percent for percent, *_ in self.seen]
        return [each for each, before in zip(found, [None, *found], strict=False) if each != before]

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def _edge(self, name: str) -> Any:
        reported = health.Health({}, keys=lambda: "digest", weights=lambda: self.weights[name])
        server = health.serve(reported, "127.0.0.1", 0)
        self.edge_pod(name, server.server_port)
        return server

    def _run(self) -> None:
        while not self._stopping.wait(0.05):
            try:
                self._round()
            except AWAY:
                """Later."""

    def _round(self) -> None:
        ready = {}
        for each in self.namespace.get("deployments", APPS)["items"]:
            name = each["metadata"]["name"]
            is_new = each.get("status", {}).get("observedGeneration") != each["metadata"]["generation"]
            if name not in self.held_back and is_new:
                self.namespace.settle(name)
            ready[name] = each.get("status", {}).get("readyReplicas", 0)
        for name in self.weights.keys() - self.held_back:
            pod = self.namespace.get(f"pods/{name}", "v1")
            # A kubelet looks when the pod has changed.
            if CONFIGURED in pod["metadata"].get("annotations", {}):
                self.weights[name] = weights(self.namespace)
        shares = [_percent(each.get(SERVICE, {})) for each in self.weights.values()]
        self.seen.append(
            (max(shares, default=0), *(ready.get(f"{SERVICE}-{role}-canary", 0) for role in ("web", "worker")))
        )


def _percent(shares: dict[str, int]) -> int:
    return next((share for target, share in shares.items() if "-canary." in target), 0)


def weights(namespace: Namespace) -> dict[str, dict[str, int]]:
    try:
        found = json.loads(namespace.get(f"configmaps/{SERVICE}-weights", "v1")["data"][WEIGHTS])
    except Refused as refused:
        if refused.status != 404:
            raise
        return {}
    return {SERVICE: found} if found else {}


def images(namespace: Namespace) -> dict[str, str]:
    """By Deployment."""
    return {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]["containers"][0]["image"]
        for each in namespace.get("deployments", APPS)["items"]
    }


def stable(image: str, *roles: str) -> dict[str, str]:
    return {f"{SERVICE}-{role}": image for role in roles or ROLES[:2]}


def soon(condition: Callable[[], Any]) -> Callable[[], bool]:
    """False while the server is away."""

    def holds() -> bool:
        try:
            return bool(condition())
        except AWAY:
            return False

    return holds
