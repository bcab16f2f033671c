"""Operators on a real API server, in a namespace of their own. There are no nodes: a test plays the controller of Deployments."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
import urllib3
import yaml

from launcher import ports
from launcher.kubernetes.chart import CHART
from launcher.state import REPOSITORY
from operators.kubernetes import GROUP, VERSION
from tests.installation import until
from tests.kubernetes import Account, KubernetesServer

RULES: list[Any] = [
    {**rule, "resources": [resource]}
    for name in ("rules", "canary-rules")
    for rule in yaml.safe_load((CHART / "operators" / f"{name}.yaml").read_text())
    for resource in rule["resources"]
]

MERGE = "application/merge-patch+json"


class Figures:
    """What Prometheus would have measured, by expression; no data for others."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self.answer: Callable[[str], float | None] = lambda query: self.values.get(query)
        self.is_broken = False
        figures = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                [query] = parse_qs(urlsplit(self.path).query)["query"]
                value = figures.answer(query)
                result = [] if value is None else [{"metric": {}, "value": [0, str(value)]}]
                body = {"status": "success", "data": {"resultType": "vector", "result": result}}
                self.send_response(503 if figures.is_broken else 200)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


class Namespace:
    def __init__(self, server: KubernetesServer, name: str, account: Account) -> None:
        self.server, self.name, self.account = server, name, account

    def path(self, resource: str, version: str = f"{GROUP}/{VERSION}") -> str:
        return f"/{'apis' if '/' in version else 'api'}/{version}/namespaces/{self.name}/{resource}"

    def get(self, resource: str, version: str = f"{GROUP}/{VERSION}") -> Any:
        return self.server.request("GET", self.path(resource, version))

    def make(self, kind: str, name: str, **spec: Any) -> None:
        self.apply(f"{GROUP}/{VERSION}", kind, name, {}, spec)

    def apply(self, version: str, kind: str, name: str, labels: Mapping[str, str], spec: Any = None) -> None:
        metadata = {"name": name, "labels": dict(labels)}
        manifest = {"apiVersion": version, "kind": kind, "metadata": metadata} | ({"spec": spec} if spec else {})
        self.server.apply(yaml.safe_dump(manifest), self.name)

    def patch(self, resource: str, body: Any, version: str = f"{GROUP}/{VERSION}") -> None:
        self.server.request("PATCH", self.path(resource, version), body, MERGE)

    def deployment(
        self, name: str, replicas: int, grace_seconds: int = 60, labels: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        """more: of its container."""
        labels = labels or {"app": name}
        pod = {
            "terminationGracePeriodSeconds": grace_seconds,
            "containers": [{"name": "worker", "image": "souk", **more}],
        }
        manifest = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        }
        self.server.apply(yaml.safe_dump(manifest), self.name)
        self.settle(name)

    def settle(self, name: str) -> None:
        """As the controller reports once all pods of the latest change are there and others are gone."""
        found = self.get(f"deployments/{name}", "apps/v1")
        count = found["spec"]["replicas"]
        status = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), count)
        body = {"status": {**status, "observedGeneration": found["metadata"]["generation"]}}
        self.server.request("PATCH", self.path(f"deployments/{name}/status", "apps/v1"), body, MERGE)

    def replicas(self, name: str) -> int:
        count: int = self.get(f"deployments/{name}", "apps/v1")["spec"]["replicas"]
        return count

    def generation(self, name: str) -> int:
        """How often its spec has changed."""
        count: int = self.get(f"deployments/{name}", "apps/v1")["metadata"]["generation"]
        return count

    def events(self) -> list[str]:
        """Their reasons, oldest first."""
        found = sorted(self.get("events", "v1")["items"], key=lambda each: each["metadata"]["creationTimestamp"])
        return [each["reason"] for each in found]

    def condition(self, resource: str) -> Any:
        """The latest; empty at first."""
        [*_, condition] = self.get(resource).get("status", {}).get("conditions") or [{}]
        return condition

    def reason(self, resource: str) -> str:
        reason: str = self.condition(resource).get("reason", "")
        return reason


class Operators:
    """A process, which sends its logs to a file."""

    def __init__(self, namespace: Namespace, figures: Figures, folder: Path, interval_seconds: float) -> None:
        self.log, self.port = folder / f"{uuid4().hex[:8]}.log", ports.any_free()
        environment = {
            "PATH": os.environ["PATH"],
            "SOUK_KUBERNETES_URL": namespace.server.url,
            "SOUK_KUBERNETES_CREDENTIALS": str(namespace.account.folder),
            "SOUK_METRICS_URL": figures.url,
            "SOUK_INTERVAL_SECONDS": str(interval_seconds),
            "SOUK_PORT": str(self.port),
            "SOUK_FAILPOINTS_DIRECTORY": str(folder),
        }
        with open(self.log, "wb") as output:
            command = [sys.executable, "-m", "operators"]
            self.process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=output, stderr=output)

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def get(self, path: str) -> tuple[int, str]:
        try:
            response = urllib3.request("GET", f"http://127.0.0.1:{self.port}{path}", retries=False, timeout=5)
        except urllib3.exceptions.HTTPError:
            return 0, ""
        return response.status, response.data.decode()

    def failures(self) -> float:
        return sum(map(float, re.findall(r"souk_operator_failures_total\{\S+\} (\S+)", self.get("/metrics")[1])))

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def figures() -> Iterator[Figures]:
    found = Figures()
    thread = threading.Thread(target=found.server.serve_forever)
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


@pytest.fixture
def rules() -> list[Any]:
    """The operators' rights."""
    return RULES


def a_namespace(kubernetes: KubernetesServer, folder: Path, rules: list[Any]) -> Namespace:
    """A new one, in which an account, whose credentials come into this new folder, has these rights."""
    name = f"operators-{uuid4().hex[:8]}"
    kubernetes.apply(yaml.safe_dump({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
    folder.mkdir()
    account = Account(kubernetes, folder, "list", namespace=name)
    account.grant(rules)
    # The server learns of them a moment later, and of all at once.
    [group], [resource], verb = rules[0]["apiGroups"], rules[0]["resources"], rules[0]["verbs"][0]
    until(lambda: account.may(verb, group, resource))
    return Namespace(kubernetes, name, account)


@pytest.fixture
def namespace(kubernetes: KubernetesServer, our_kinds: None, tmp_path: Path, rules: list[Any]) -> Namespace:
    return a_namespace(kubernetes, tmp_path / "account", rules)


Start = Callable[..., Operators]


@pytest.fixture
def start(namespace: Namespace, figures: Figures, tmp_path: Path) -> Iterator[Start]:
    running: list[Operators] = []

    def start(interval_seconds: float = 0.2) -> Operators:
        running.append(Operators(namespace, figures, tmp_path, interval_seconds))
        return running[-1]

    yield start
    for each in running:
        each.end()
