"""Keyring on a real API server. Pods are files and ports in this process, with the services' own code; the test is their kubelet."""

import base64
import json
import random
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import urllib3
import yaml

from chassis.base import health
from chassis.base.settings import Settings
from chassis.clients import credentials
from chassis.discovery.api_server import APIServer
from chassis.security import keys, tokens
from operators.keyring import rotation
from operators.keyring.keyring import Keyring
from operators.keyring.law import Step
from operators.kubernetes import GROUP, VERSION, Kubernetes
from operators.reconciler import Events, reconcile
from tests.installation import until
from tests.kubernetes import KubernetesServer, Refused
from tests.operators.conftest import MERGE, Namespace, Start

pytestmark = pytest.mark.kubernetes

CALLERS = {"users": ["orders"], "orders": ["users"]}
PODS = {"users-a": "users", "users-b": "users", "orders-a": "orders", "gateway-a": "gateway"}
KEYRING = "keyrings/souk"
WAIT_SECONDS = 120


class Pod:
    def __init__(self, namespace: Namespace, name: str, folder: Path) -> None:
        self.name, self.service, self._file = name, PODS[name], folder / f"{name}.json"
        self.load(content(namespace, self.service))
        self.settings = Settings(keys_file=self._file)
        self.keys = keys.keyring(self.settings)
        self._server = health.serve(health.Health({}, keys=self.keys.digest), "127.0.0.1", 0)
        secret = {"name": "keys", "secret": {"secretName": f"{self.service}-keys"}}
        container = {
            "name": "web",
            "image": "souk",
            "ports": [{"name": "http", "containerPort": self._server.server_port}],
        }
        manifest = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {"nodeName": "node", "containers": [container], "volumes": [secret]},
        }
        namespace.server.apply(yaml.safe_dump(manifest), namespace.name)
        status = {"status": {"phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}}
        namespace.server.request("PATCH", namespace.path(f"pods/{name}/status", "v1"), status, MERGE)

    def load(self, raw: bytes) -> None:
        new = self._file.with_suffix(".new")
        new.write_bytes(raw)
        new.replace(self._file)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Cluster:
    """Brings Secrets to pods, one at a time and in any order, and has them call each other."""

    def __init__(self, namespace: Namespace, folder: Path) -> None:
        self._namespace = namespace
        self.pods = [Pod(namespace, name, folder) for name in PODS]
        self.held_back: set[str] = set()
        """Names of pods that get nothing."""
        self.refused: list[str] = []
        self.rounds = 0
        self._tokens: dict[str, str] = {}
        """One for each key that has signed."""
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._deliver, self._call)]
        for thread in self._threads:
            thread.start()

    def signing(self) -> list[str]:
        return [pod.keys.now().signing.id for pod in self.pods if pod.service == "users"]

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        for pod in self.pods:
            pod.stop()

    def _deliver(self) -> None:
        while not self._stopping.wait(0.05):
            pod = random.choice(self.pods)
            if pod.name not in self.held_back:
                try:
                    pod.load(content(self._namespace, pod.service))
                except (urllib3.exceptions.HTTPError, Refused, ValueError):
                    """The server is restarted."""

    def _call(self) -> None:
        try:
            self._calls()
        except Exception as error:
            self.refused.append(repr(error))

    def _calls(self) -> None:
        while not self._stopping.wait(0.01):
            for pod in self.pods:
                if pod.service == "users":
                    token = tokens.sign(uuid4(), ["customer"], pod.settings).text
                    self._tokens[pod.keys.now().signing.id] = token
                    self._present(token)
            for token in list(self._tokens.values()):
                self._present(token)
            for caller in self.pods:
                for callee in self.pods:
                    if caller.service in CALLERS.get(callee.service, ()):
                        name = callee.keys.caller(credentials.api_key(caller.settings))
                        if name != caller.service:
                            self.refused.append(f"{caller.name} at {callee.name}")
            self.rounds += 1

    def _present(self, token: str) -> None:
        for pod in self.pods:
            try:
                tokens.verify(token, pod.settings)
            except Exception as error:
                self.refused.append(f"{pod.name}: {error!r}")


def content(namespace: Namespace, service: str) -> bytes:
    return base64.b64decode(namespace.get(f"secrets/{service}-keys", "v1")["data"]["keys.json"])


def secrets(namespace: Namespace) -> None:
    """As `./souk chart secrets` makes them."""
    now = datetime.now(UTC)
    made = {"jwt": [rotation.new_jwt_key("EdDSA", now)], "api": {name: [rotation.new_api_key()] for name in CALLERS}}
    for service in (*CALLERS, "gateway"):
        file = rotation.file_of(service, made, CALLERS)
        manifest = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": f"{service}-keys"},
            "stringData": {"keys.json": json.dumps(file, indent=2)},
        }
        namespace.server.apply(yaml.safe_dump(manifest), namespace.name)


@pytest.fixture
def cluster(namespace: Namespace, tmp_path: Path) -> Iterator[Cluster]:
    secrets(namespace)
    found = Cluster(namespace, tmp_path)
    yield found
    found.stop()


def a_keyring(namespace: Namespace, **spec: Any) -> None:
    namespace.make("Keyring", "souk", **{"callers": CALLERS, **spec})


def comes_to(namespace: Namespace, reason: str) -> None:
    until(lambda: namespace.reason(KEYRING) == reason, WAIT_SECONDS)


def is_loaded(namespace: Namespace, step: Step) -> bool:
    return namespace.reason(KEYRING) == step and namespace.get(KEYRING)["status"]["waitsFor"] == 0


def test_a_rotation_refuses_nothing(namespace: Namespace, cluster: Cluster, start: Start) -> None:
    [old] = set(cluster.signing())
    a_keyring(namespace)
    start()
    comes_to(namespace, Step.DONE)
    # Nothing had to be written.
    assert content(namespace, "users").startswith(b"{\n")
    a_keyring(namespace, rotation=1)
    until(lambda: is_loaded(namespace, Step.EXPIRING), WAIT_SECONDS)
    [new] = set(cluster.signing())
    assert new != old
    assert namespace.get(KEYRING)["status"]["signingKey"] == new
    rounds = cluster.rounds
    until(lambda: cluster.rounds > rounds + 1, WAIT_SECONDS)
    assert cluster.refused == []
    # One that the server was too slow for is not posted later.
    assert set(namespace.events()) <= {"Adopted", "AddingKeys", "UsingNewKeys", "ExpiringOldKeys"}
    # Once what they signed has expired.
    later = datetime.now(UTC) + timedelta(hours=1)
    until(lambda: reconciled(namespace, later) == Step.DONE, WAIT_SECONDS)
    for service in (*CALLERS, "gateway"):
        file = json.loads(content(namespace, service))
        assert list(file["jwt_keys"]) == [new]
        assert all(len(digests) == 1 for digests in file.get("api_callers", {}).values())


def reconciled(namespace: Namespace, now: datetime) -> str:
    """The reason, once an operator whose clock says `now` has looked, too."""
    server = APIServer(namespace.server.url, namespace.account.folder, namespace.name, "")
    kubernetes = Kubernetes(server)
    resource = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "Keyring", **namespace.get(KEYRING)}
    try:
        reconcile(kubernetes, Events(kubernetes), Keyring(kubernetes), resource, now)
    except Exception:
        return ""
    return namespace.reason(KEYRING)


def test_no_key_is_used_before_the_last_pod_has_loaded_it(namespace: Namespace, cluster: Cluster, start: Start) -> None:
    [old] = set(cluster.signing())
    cluster.held_back = {"orders-a"}
    a_keyring(namespace, rotation=1)
    start()
    until(lambda: waits_for(namespace, Step.ADDING) == "orders-a", WAIT_SECONDS)
    assert set(cluster.signing()) == {old}
    cluster.held_back = {"users-b"}
    until(lambda: waits_for(namespace, Step.SIGNING) == "users-b", WAIT_SECONDS)
    until(lambda: len(set(cluster.signing())) == 2, WAIT_SECONDS)
    cluster.held_back = set()
    until(lambda: is_loaded(namespace, Step.EXPIRING), WAIT_SECONDS)
    assert cluster.refused == []


def waits_for(namespace: Namespace, step: Step) -> str:
    condition = namespace.condition(KEYRING)
    if condition.get("reason") != step:
        return ""
    waiting: str = condition["message"].partition("; waits for ")[2]
    return waiting


@pytest.mark.parametrize("step", ["status written", "ring written", "a secret written", "acted"])
def test_killed_in_a_step_it_goes_on(
    namespace: Namespace, cluster: Cluster, start: Start, tmp_path: Path, step: str
) -> None:
    a_keyring(namespace, rotation=1)
    (tmp_path / f"operators: outside: {step}").touch()
    assert start().process.wait(WAIT_SECONDS) == -9
    start()
    until(lambda: is_loaded(namespace, Step.EXPIRING), WAIT_SECONDS)
    assert cluster.refused == []


def test_two_rotate_once(namespace: Namespace, cluster: Cluster, start: Start) -> None:
    a_keyring(namespace, rotation=1)
    start(), start()
    until(lambda: is_loaded(namespace, Step.EXPIRING), WAIT_SECONDS)
    assert len(json.loads(content(namespace, "users"))["jwt_keys"]) == 2
    assert cluster.refused == []


def test_it_goes_on_after_the_api_server_is_restarted(
    kubernetes: KubernetesServer, namespace: Namespace, cluster: Cluster, start: Start
) -> None:
    cluster.held_back = {"orders-a"}
    a_keyring(namespace, rotation=1)
    start()
    until(lambda: waits_for(namespace, Step.ADDING) == "orders-a", WAIT_SECONDS)
    kubernetes.server.kill("kube-apiserver")
    kubernetes.server.start()
    cluster.held_back = set()
    until(lambda: loaded_by_now(namespace), WAIT_SECONDS)
    assert cluster.refused == []


def loaded_by_now(namespace: Namespace) -> bool:
    try:
        return is_loaded(namespace, Step.EXPIRING)
    except (Refused, urllib3.exceptions.HTTPError, ValueError):
        return False


def test_secrets_that_somebody_else_puts_back_are_mended(namespace: Namespace, cluster: Cluster, start: Start) -> None:
    before = {service: content(namespace, service) for service in (*CALLERS, "gateway")}
    cluster.held_back = set(PODS)
    a_keyring(namespace, rotation=1)
    start()
    until(lambda: waits_for(namespace, Step.ADDING).count(",") == len(PODS) - 1, WAIT_SECONDS)
    added = content(namespace, "users")
    assert added != before["users"]
    secret = namespace.get("secrets/users-keys", "v1")
    data = {"keys.json": base64.b64encode(before["users"]).decode()}
    namespace.server.request("PUT", namespace.path("secrets/users-keys", "v1"), {**secret, "data": data})
    until(lambda: content(namespace, "users") == added, WAIT_SECONDS)


def test_missing_secrets_are_waited_for(namespace: Namespace, start: Start) -> None:
    a_keyring(namespace)
    start()
    comes_to(namespace, "SecretMissing")
    assert namespace.condition(KEYRING)["status"] == "False"
    until(lambda: "SecretMissing" in namespace.events(), WAIT_SECONDS)
    secrets(namespace)
    comes_to(namespace, Step.DONE)


def test_without_its_operator_a_resource_can_be_deleted(
    kubernetes: KubernetesServer, namespace: Namespace, start: Start
) -> None:
    secrets(namespace)
    a_keyring(namespace)
    operators = start()
    comes_to(namespace, Step.DONE)
    operators.end()
    kubernetes.request("DELETE", namespace.path(KEYRING))
    with pytest.raises(Refused, match="404"):
        namespace.get(KEYRING)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"callers": {"orders": []}}, "users signs the tokens"),
        ({"verifiers": ["orders"]}, "a service of callers also verifies"),
        ({"algorithm": "none"}, "Unsupported value"),
        ({"rotation": 1}, "rotation may only be raised"),
    ],
)
def test_wrong_specs_are_refused(namespace: Namespace, wrong: dict[str, Any], message: str) -> None:
    if "rotation" in wrong:
        a_keyring(namespace, rotation=2)
    with pytest.raises(Refused, match=message):
        a_keyring(namespace, **wrong)


def test_kubectl_shows_what_it_waits_for(namespace: Namespace, cluster: Cluster, start: Start) -> None:
    cluster.held_back = {"gateway-a"}
    a_keyring(namespace, rotation=1)
    start()
    until(lambda: waits_for(namespace, Step.ADDING) == "gateway-a", WAIT_SECONDS)
    assert shown(namespace, ["Rotation", "Waits for", "Reason"]) == [1, 1, "AddingKeys"]


def shown(namespace: Namespace, names: Sequence[str]) -> list[Any]:
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    table = namespace.server.request("GET", namespace.path(KEYRING), accept=accept)
    columns = [column["name"] for column in table["columnDefinitions"]]
    [row] = table["rows"]
    cells = dict(zip(columns, row["cells"], strict=True))
    return [cells[name] for name in names]
