"""EndpointSlices through the Kubernetes client, from a small server that lists and watches like an API server."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from chassis import discovery
from chassis.base.settings import Settings
from chassis.discovery import Instance, kubernetes
from chassis.discovery.kubernetes import Slices
from tests.consul import ConsulServer

DEADLINE_SECONDS = 20.0
PATH = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices"


def a_slice(*endpoints: dict[str, Any], ports: Any = ({"name": "http", "port": 8000},)) -> dict[str, Any]:
    return {"metadata": {"name": "s"}, "addressType": "IPv4", "ports": list(ports), "endpoints": list(endpoints)}


def a_pod(name: str, address: str, **conditions: bool) -> dict[str, Any]:
    return {"addresses": [address], "conditions": conditions, "targetRef": {"kind": "Pod", "name": name}}


class APIServer:
    """Serves the slices given to `hold`, which ends open watches. Versions before `oldest` have expired."""

    def __init__(self) -> None:
        self._slices: list[dict[str, Any]] = []
        self.version, self.oldest = 1, 0
        self.changed = threading.Condition()
        self.queries: list[dict[str, list[str]]] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None: ...

            def do_GET(self) -> None:
                url = urlsplit(self.path)
                query = parse_qs(url.query)
                api.queries.append(query)
                assert url.path == PATH
                if "watch" in query:
                    self.respond(api.wait(int(query["resourceVersion"][0]), int(query["timeoutSeconds"][0])))
                else:
                    metadata = {"resourceVersion": str(api.version)}
                    kind = {"kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1"}
                    self.respond({**kind, "metadata": metadata, "items": api._slices})

            def respond(self, value: Any) -> None:
                body = json.dumps(value).encode() + b"\n" if value else b""
                self.send_response_only(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def hold(self, *slices: dict[str, Any]) -> None:
        with self.changed:
            self._slices, self.version = list(slices), self.version + 1
            self.changed.notify_all()

    def wait(self, version: int, seconds: int) -> Any:
        """The first event after `version`; None after `seconds`."""
        if version < self.oldest:
            return {
                "type": "ERROR",
                "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"},
            }
        with self.changed:
            if not self.changed.wait_for(lambda: self.version > version, seconds):
                return None
            return {"type": "MODIFIED", "object": self._slices[0]}


@pytest.fixture
def api() -> Iterator[APIServer]:
    server = APIServer()
    yield server
    server.server.shutdown()


@pytest.fixture
def slices(api: APIServer) -> Slices:
    from kubernetes import client

    configuration = client.Configuration(host=f"http://127.0.0.1:{api.server.server_port}")
    return Slices(client.DiscoveryV1Api(client.ApiClient(configuration)), "shop", "users")


def test_the_ready_endpoints_of_all_slices_are_the_instances(api: APIServer, slices: Slices) -> None:
    api.hold(
        a_slice(a_pod("users-a", "10.0.0.1", ready=True), a_pod("users-b", "10.0.0.2", ready=False)),
        a_slice({"addresses": ["fd00::1"]}, ports=[{"name": "", "port": 9000}]),
        a_slice(a_pod("users-c", "10.0.0.3"), ports=[{"name": "metrics", "port": 1}, {"name": "http", "port": 8001}]),
        a_slice(a_pod("users-d", "10.0.0.4"), ports=[{"name": "a", "port": 1}, {"name": "b", "port": 2}]),
    )
    assert slices.fetch(1) == [
        Instance("users-a", "http://10.0.0.1:8000"),
        Instance("fd00::1", "http://[fd00::1]:9000"),
        Instance("users-c", "http://10.0.0.3:8001"),
    ]
    assert api.queries[-1]["labelSelector"] == ["kubernetes.io/service-name=users"]


def test_without_a_ready_endpoint_those_not_terminating_are_returned(api: APIServer, slices: Slices) -> None:
    terminating = a_pod("users-c", "10.0.0.3", ready=False, terminating=True)
    api.hold(a_slice(a_pod("users-a", "10.0.0.1", ready=False), a_pod("users-b", "10.0.0.2", ready=False), terminating))
    assert [each.id for each in slices.fetch(1)] == ["users-a", "users-b"]


def test_a_change_ends_the_wait(api: APIServer, slices: Slices) -> None:
    api.hold(a_slice(a_pod("users-a", "10.0.0.1")))
    slices.fetch(1)
    threading.Timer(0.1, api.hold, [a_slice(a_pod("users-b", "10.0.0.2"))]).start()
    assert [each.id for each in slices.fetch(DEADLINE_SECONDS)] == ["users-b"]


def test_without_a_change_slices_are_listed_again_after_the_wait(api: APIServer, slices: Slices) -> None:
    api.hold(a_slice(a_pod("users-a", "10.0.0.1")))
    slices.fetch(1)
    assert [each.id for each in slices.fetch(1)] == ["users-a"]


def test_an_expired_resource_version_is_not_an_error(api: APIServer, slices: Slices) -> None:
    api.hold(a_slice(a_pod("users-a", "10.0.0.1")))
    slices.fetch(1)
    api.oldest = 10**6
    assert [each.id for each in slices.fetch(DEADLINE_SECONDS)] == ["users-a"]


def test_settings_and_a_kubeconfig_suffice(api: APIServer, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    named = {"clusters": ("cluster", {"server": f"http://127.0.0.1:{api.server.server_port}"}), "users": ("user", {})}
    config = {kind: [{"name": "test", key: value}] for kind, (key, value) in named.items()}
    config["contexts"] = [{"name": "test", "context": {"cluster": "test", "user": "test"}}]
    file = tmp_path / "config"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "test", **config}))
    for module in ("kubernetes.config", "kubernetes.config.kube_config"):  # KUBECONFIG is read at import.
        monkeypatch.setattr(f"{module}.KUBE_CONFIG_DEFAULT_LOCATION", str(file))
    api.hold(a_slice(a_pod("users-a", "10.0.0.1")))
    kubernetes.endpoint_slices.cache_clear()
    provider = discovery.provider(Settings(discovery="kubernetes", kubernetes_namespace="shop"))
    assert [each.id for each in provider.instances("users")] == ["users-a"]
    api.hold(a_slice(a_pod("users-b", "10.0.0.2")))
    ConsulServer.until(lambda: [each.id for each in provider.instances("users")] == ["users-b"])
