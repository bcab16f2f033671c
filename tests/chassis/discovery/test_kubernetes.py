"""What is Kubernetes' own in finding instances: ports, zones, versions, rights and tokens."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from urllib3.exceptions import HTTPError

from chassis import discovery
from chassis.base.settings import Settings
from chassis.discovery.instance import Instance
from chassis.discovery.kubernetes import APIServer, Query
from chassis.discovery.pauses import MAX_SECONDS
from services.gateway.discovery.kubernetes import Query as GatewayQuery
from tests.installation import until
from tests.kubernetes import Account, KubernetesServer
from tests.sidecar.test_security import certificates

pytestmark = pytest.mark.kubernetes

WAIT_SECONDS = 20


@pytest.fixture
def service() -> str:
    return f"users-{uuid4().hex[:8]}"


@pytest.fixture
def account(kubernetes: KubernetesServer, tmp_path: Path) -> Account:
    return Account(kubernetes, tmp_path, "list", "watch")


@pytest.fixture
def api(kubernetes: KubernetesServer, account: Account) -> APIServer:
    return APIServer.of(Settings(kubernetes_url=kubernetes.url, kubernetes_credentials=str(account.folder)))


def a_pod(name: str, address: str, *zones: str, **conditions: bool) -> dict[str, Any]:
    hints = {"hints": {"forZones": [{"name": zone} for zone in zones]}} if zones else {}
    return {
        "addresses": [address],
        "conditions": conditions,
        "targetRef": {"kind": "Pod", "name": name},
        **hints,
    }


def ids(query: Query) -> list[str]:
    return sorted(each.id for each in query.fetch(WAIT_SECONDS))


def test_the_port_named_http_is_called_or_the_only_one(
    kubernetes: KubernetesServer, api: APIServer, service: str
) -> None:
    several = [{"name": "metrics", "port": 1}, {"name": "http", "port": 8001}]
    unknown = [{"name": "a", "port": 1}, {"name": "b", "port": 2}]
    kubernetes.slice(service, a_pod("a", "10.0.0.1"), port=several, name=f"{service}-a")
    kubernetes.slice(service, a_pod("b", "10.0.0.2"), port=unknown, name=f"{service}-b")
    kubernetes.slice(service, {"addresses": ["fd00::1"]}, port=[{"port": 9000}], name=f"{service}-c")
    assert sorted(Query(api, service).fetch(WAIT_SECONDS), key=lambda each: each.id) == [
        Instance("a", "http://10.0.0.1:8001"),
        Instance("fd00::1", "http://[fd00::1]:9000"),
    ]


def test_a_pod_with_two_addresses_or_in_two_slices_is_one_instance(
    kubernetes: KubernetesServer, api: APIServer, service: str
) -> None:
    for number, address in enumerate(("fd00::1", "10.0.0.1", "10.0.0.1")):
        kubernetes.slice(service, a_pod("a", address), name=f"{service}-{number}")
    assert Query(api, service).fetch(WAIT_SECONDS) == [Instance("a", "http://10.0.0.1:8000")]


@pytest.mark.parametrize(
    ("zone", "called"), [("north", ["a"]), ("south", ["b"]), ("west", ["a", "b"]), ("", ["a", "b"])]
)
def test_the_instances_meant_for_our_zone_are_called(
    kubernetes: KubernetesServer, api: APIServer, service: str, zone: str, called: list[str]
) -> None:
    kubernetes.slice(service, a_pod("a", "10.0.0.1", "north"), a_pod("b", "10.0.0.2", "south"))
    query = Query(APIServer(api.url, api.credentials, api.namespace, zone), service)
    assert ids(query) == called
    # As for kube-proxy, hints count only where all endpoints have them.
    kubernetes.slice(service, a_pod("a", "10.0.0.1", "north"), a_pod("b", "10.0.0.2", "south"), a_pod("c", "10.0.0.3"))
    assert ids(query) == ["a", "b", "c"]


def refusal(api: APIServer, service: str) -> str:
    """Empty when a new query is answered."""
    try:
        Query(api, service).fetch(WAIT_SECONDS)
    except ConnectionError as error:
        return str(error)
    return ""


def test_a_watch_goes_on_where_the_last_one_ended(
    kubernetes: KubernetesServer, account: Account, api: APIServer, service: str
) -> None:
    query = Query(api, service)
    assert ids(query) == []
    account.allow("watch")
    until(lambda: "403" in refusal(api, service))
    pods = [a_pod(f"p{number}", f"10.0.0.{number}") for number in (1, 2, 3)]
    for count in (1, 2, 3):
        kubernetes.slice(service, *pods[:count])
        assert ids(query) == ["p1", "p2", "p3"][:count]
    path = f"/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/{service}"
    kubernetes.request("DELETE", path)
    assert ids(query) == []


@pytest.mark.parametrize("version", ["1", "999999999"], ids=["expired", "of a future"])
def test_a_version_that_the_server_does_not_have_is_not_an_outage(
    kubernetes: KubernetesServer, api: APIServer, service: str, version: str
) -> None:
    query = Query(api, service)
    assert ids(query) == []
    kubernetes.slice(service, a_pod("a", "10.0.0.1"))
    query.slices.version = version
    assert [each.id for each in query.fetch(1)] == ["a"]


def test_without_the_right_to_watch_only_a_new_list_is_served(
    kubernetes: KubernetesServer, account: Account, api: APIServer, service: str
) -> None:
    account.allow("list")
    query = Query(api, service)
    assert ids(query) == []
    kubernetes.slice(service, a_pod("a", "10.0.0.1"))

    def is_refused() -> bool:
        try:
            query.fetch(1)
        except ConnectionError as error:
            return "403" in str(error)
        return False

    until(is_refused)
    assert ids(query) == ["a"]


def test_a_pods_own_settings_suffice_and_its_token_may_change(
    kubernetes: KubernetesServer, account: Account, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    address = urlsplit(kubernetes.url)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(address.hostname))
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(address.port))
    settings = Settings(discovery="kubernetes", kubernetes_credentials=str(account.folder))
    kubernetes.slice(service, a_pod("a", "10.0.0.1"))
    assert [each.id for each in discovery.provider(settings).instances(service)] == ["a"]
    query, token = Query(APIServer.of(settings), service), (account.folder / "token").read_text()
    (account.folder / "token").write_text("expired")
    with pytest.raises(ConnectionError, match="401"):
        query.fetch(WAIT_SECONDS)
    (account.folder / "token").write_text(token)
    assert ids(query) == ["a"]


class OfServices:
    def __init__(self, api: APIServer, service: str, pauses: list[float]) -> None:
        query = Query(api, service, pauses.append)
        self.slices, self.fetch = query.slices, query.fetch


class OfTheGateway:
    def __init__(self, api: APIServer, service: str, pauses: list[float]) -> None:
        async def sleep(seconds: float) -> None:
            pauses.append(seconds)

        query = GatewayQuery(api, f"{service}.default.svc", sleep)
        self.slices = query.slices
        self.fetch: Callable[[float], object] = lambda seconds: asyncio.run(query.fetch(seconds))


readers = pytest.mark.parametrize("reader", [OfServices, OfTheGateway])


@readers
def test_watches_come_in_pauses_while_they_bring_nothing(
    kubernetes: KubernetesServer, account: Account, api: APIServer, service: str, reader: Callable[..., Any]
) -> None:
    def may_watch() -> bool:
        query = Query(api, service)
        query.fetch(1)
        try:
            query.fetch(1)
        except ConnectionError:
            return False
        return True

    account.allow("list")
    until(lambda: not may_watch())
    pauses: list[float] = []
    query = reader(api, service, pauses)
    for _ in range(8):
        query.fetch(WAIT_SECONDS)
        with pytest.raises(ConnectionError, match="403"):
            query.fetch(WAIT_SECONDS)
    assert pauses[:2] == [0, 0]
    assert 1 <= pauses[2] <= 2 <= pauses[3] <= 4
    assert all(MAX_SECONDS / 2 <= each <= MAX_SECONDS for each in pauses[6:])
    account.allow("list", "watch")
    until(may_watch)
    query.fetch(WAIT_SECONDS)
    kubernetes.slice(service, a_pod("a", "10.0.0.1"))
    query.fetch(WAIT_SECONDS)
    query.fetch(1)
    assert pauses[-1] == 0


@readers
def test_a_replaced_certificate_of_the_server_is_trusted_without_a_restart(
    account: Account, api: APIServer, service: str, reader: Callable[..., Any]
) -> None:
    right = (account.folder / "ca.crt").read_bytes()
    (account.folder / "ca.crt").write_bytes(Path(a_certificate(account.folder)).read_bytes())
    query = reader(api, service, [])

    def is_trusted() -> bool:
        try:
            query.fetch(WAIT_SECONDS)
        except (OSError, HTTPError):
            return False
        return True

    assert not is_trusted()
    (account.folder / "ca.crt").write_bytes(right)
    until(is_trusted)


def a_certificate(folder: Path) -> str:
    (folder / "other").mkdir()
    return certificates(folder / "other")[0]
