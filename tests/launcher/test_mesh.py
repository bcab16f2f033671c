"""Consul Connect with a real Consul and its proxies: who gets through, and who does not."""

import json
import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from chassis.base.problems import Unavailable
from chassis.base.settings import Settings
from chassis.clients import Client
from launcher import certificate, mesh, probes
from launcher.errors import LaunchError
from launcher.manifests import CALLS, SERVICES
from launcher.servers import Consul
from launcher.stack import Stack
from launcher.state import StateFolder
from services.sidecar.settings import Settings as SidecarSettings
from services.sidecar.sidecar import Sidecar
from tests.chassis.faulty import QUICK, Faulty, faulty
from tests.installation import planned, until
from tests.ports import free_port

INTENTIONS = "/v1/connect/intentions"
WEBS = ["products-web", "orders-web", "notifications-web"]


@pytest.fixture(scope="module")
def instance() -> Iterator[Faulty]:
    """products-web."""
    with faulty() as started:
        started.respond_with({"status": "ready", "in_flight": 0})
        yield started


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, instance: Faulty) -> Iterator[Stack]:
    """Consul, three proxies as in an installation, and products in the catalogue."""
    folder = tmp_path_factory.mktemp("mesh")
    stack = Stack(folder / "state", servers=("consul",), services=False, standard_ports=False, bound=True)
    stack.state.make()
    stack.installation.is_meshed = True
    try:
        stack.up()
        ports = {name: free_port() for name in (*mesh.ports_of(WEBS), *WEBS)}
        stack.installation.ports |= {**ports, "products-web": instance.server.server_port}
        for program in mesh.programs(stack.installation, consul(stack), WEBS):
            stack.supervisor.ensure(program)
            stack.wait_ready(program.name)
        register(stack, instance)
        yield stack
    finally:
        stack.down(wipe=True)


def consul(stack: Stack) -> Consul:
    found = stack.servers["consul"]
    assert isinstance(found, Consul)
    return found


def register(stack: Stack, instance: Faulty) -> Sidecar:
    token = stack.credentials("products-sidecar")["SOUK_CONSUL_TOKEN"]
    port = stack.installation.ports["products-proxy"]
    address = stack.url("consul")
    settings = SidecarSettings(
        "products", "products-web", instance.url, address, token, proxy_port=port, check_seconds=0.2, ttl_seconds=600
    )
    sidecar = Sidecar(settings)
    # Consul keeps the state of an entry's checks when it is registered again. The second one renews it.
    for _ in range(2):
        sidecar.heartbeat()
    assert sidecar.state == "registered"
    until(lambda: found_through_mesh(stack) == ["products-web-sidecar-proxy"])
    return sidecar


def ask(stack: Stack, path: str, token: str = "", method: str = "GET", body: Any = None) -> Any:
    """token: the operator's if empty. Raises HTTPError."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"X-Consul-Token": token or consul(stack).management_token}
    request = urllib.request.Request(stack.url("consul") + path, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.loads(response.read() or "null")


def found_through_mesh(stack: Stack) -> list[str]:
    entries = ask(stack, "/v1/health/connect/products?passing=1")
    return sorted(each["Service"]["ID"] for each in entries)


def orders_calls_products(stack: Stack) -> Any:
    """As orders does, with connections of its own."""
    addresses = mesh.upstreams("orders-web", stack.installation.ports)
    settings = Settings(services={name: f"http://{address}" for name, address in addresses.items()}, api_key="mine")
    return Client("products", QUICK).get("/products/1", {}, settings)


def intentions(stack: Stack) -> dict[tuple[str, str], Any]:
    return {(each["SourceName"], each["DestinationName"]): each for each in ask(stack, INTENTIONS)}


def decide(stack: Stack, caller: str, service: str, action: str) -> None:
    intention = intentions(stack)[caller, service]
    kept = {name: intention[name] for name in ("SourceName", "DestinationName", "Description")}
    ask(stack, f"{INTENTIONS}/{intention['ID']}", method="PUT", body={**kept, "Action": action})


# --- intentions


def test_what_manifests_say_passes_and_nothing_else(stack: Stack) -> None:
    wanted = {(caller, service) for caller, called in CALLS.items() for service in called}
    assert ("orders", "products") in wanted
    assert {pair: each["Action"] for pair, each in intentions(stack).items()} == dict.fromkeys(wanted, "allow")
    for caller in (*CALLS, "stranger"):
        for service in SERVICES:
            checked = ask(stack, f"{INTENTIONS}/check?source={caller}&destination={service}")
            assert checked["Allowed"] == ((caller, service) in wanted), (caller, service)


def test_a_denied_caller_is_refused_at_once_and_sees_the_usual_problem(stack: Stack, instance: Faulty) -> None:
    assert orders_calls_products(stack) == {"status": "ready", "in_flight": 0}
    decide(stack, "orders", "products", "deny")
    before = len(instance.seen)
    try:
        with pytest.raises(Unavailable, match="The products service does not respond") as refused:
            orders_calls_products(stack)
        assert refused.value.status == 503
        assert [path for _, path, _, _ in instance.seen[before:] if path == "/products/1"] == []
    finally:
        decide(stack, "orders", "products", "allow")
    assert orders_calls_products(stack)


def test_what_an_operator_decides_survives_a_restart_and_what_manifests_no_longer_say_goes(
    stack: Stack, instance: Faulty
) -> None:
    decide(stack, "notifications", "users", "deny")
    ours = intentions(stack)["gateway", "users"]["Description"]
    for caller, description in (("removed", ours), ("operators", "theirs")):
        names = {"SourceName": caller, "DestinationName": "users", "Description": description}
        ask(stack, INTENTIONS, method="POST", body={**names, "Action": "allow"})
    stack.supervisor.restart("consul")
    stack.wait_ready("consul")
    until(lambda: ("removed", "users") not in intentions(stack))
    found = intentions(stack)
    assert found["notifications", "users"]["Action"] == "deny"
    ask(stack, f"{INTENTIONS}/{found['operators', 'users']['ID']}", method="DELETE")
    decide(stack, "notifications", "users", "allow")
    register(stack, instance)
    until(lambda: orders_calls_products(stack))


# --- certificates


def identity(stack: Stack, folder: Path, service: str) -> ssl.SSLContext:
    """A client of the mesh with the service's certificate; without one for ""."""
    context = ssl.create_default_context(cadata="".join(root["RootCert"] for root in roots(stack)))
    context.check_hostname = False
    if service:
        leaf = ask(stack, f"/v1/agent/connect/ca/leaf/{service}", consul(stack).proxy_token(service))
        file = folder / f"{service}.pem"
        file.write_text(leaf["CertPEM"] + leaf["PrivateKeyPEM"])
        context.load_cert_chain(file)
    return context


def roots(stack: Stack) -> list[dict[str, str]]:
    found: list[dict[str, str]] = ask(stack, "/v1/agent/connect/ca/roots")["Roots"]
    return found


def status_as(stack: Stack, context: ssl.SSLContext | None) -> int:
    """Of a request to products' proxy. Raises OSError or HTTPException."""
    with closing(HTTPConnection("127.0.0.1", stack.installation.ports["products-proxy"], timeout=10)) as connection:
        connection.connect()
        if context:
            connection.sock = context.wrap_socket(connection.sock)
        connection.request("GET", "/products/1")
        return connection.getresponse().status


def test_only_callers_with_a_certificate_and_an_intention_reach_a_service(
    stack: Stack, instance: Faulty, tmp_path: Path
) -> None:
    assert status_as(stack, identity(stack, tmp_path, "orders")) == 200
    before = len(instance.seen)
    for context in (identity(stack, tmp_path, "notifications"), identity(stack, tmp_path, ""), None):
        with pytest.raises((OSError, HTTPException)):
            status_as(stack, context)
    assert [path for _, path, _, _ in instance.seen[before:] if path == "/products/1"] == []


@pytest.mark.parametrize("identity_of", ["products", "notifications", "another CA"])
def test_only_an_instance_with_the_certificate_of_its_service_is_called(
    stack: Stack, instance: Faulty, tmp_path: Path, identity_of: str
) -> None:
    """A fake one, registered with a stolen token, that lets everybody in."""
    token, certificate_file = stack.credentials("products-sidecar")["SOUK_CONSUL_TOKEN"], tmp_path / "products.pem"
    if identity_of in CALLS:
        identity(stack, tmp_path, identity_of)
        certificate_file = tmp_path / f"{identity_of}.pem"
    else:
        state = StateFolder(tmp_path / "theirs")
        certificate.ensure_internal(state, ["products"])
        own = certificate.internal_paths(state, "products")
        certificate_file.write_text("".join(path.read_text() for path in own))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file)
    with faulty() as fake:
        fake.server.socket = context.wrap_socket(fake.server.socket, server_side=True)
        entry = {
            "Kind": "connect-proxy",
            "ID": "fake",
            "Name": "products-sidecar-proxy",
            "Address": "127.0.0.1",
            "Port": fake.server.server_port,
            "Proxy": {"DestinationServiceName": "products"},
        }
        ask(stack, "/v1/agent/service/register", token, "PUT", entry)
        ask(stack, "/v1/agent/service/deregister/products-web", token, "PUT", {})
        try:
            until(lambda: found_through_mesh(stack) == ["fake"])
            if identity_of == "products":
                assert orders_calls_products(stack) == {"well": True}
            else:
                with pytest.raises(Unavailable):
                    orders_calls_products(stack)
                assert fake.seen == []
        finally:
            ask(stack, "/v1/agent/service/deregister/fake", token, "PUT", {})
            register(stack, instance)
    assert orders_calls_products(stack)


@pytest.mark.parametrize("service", [*CALLS])
def test_a_proxys_token_gets_the_certificate_of_its_own_service_only(stack: Stack, service: str) -> None:
    for other in CALLS:
        path, token = f"/v1/agent/connect/ca/leaf/{other}", consul(stack).proxy_token(service)
        if other == service:
            assert ask(stack, path, token)["Service"] == service
        else:
            with pytest.raises(HTTPError, match="403"):
                ask(stack, path, token)
    # Nor may it let others in.
    body = {"SourceName": "stranger", "DestinationName": service, "Action": "allow"}
    for method, path in (("POST", INTENTIONS), ("GET", "/v1/acl/tokens")):
        with pytest.raises(HTTPError, match="403"):
            ask(stack, path, consul(stack).proxy_token(service), method, body)


def test_an_instance_is_not_found_without_its_proxy(stack: Stack, instance: Faulty) -> None:
    stack.supervisor.stop(["products-proxy"])
    until(lambda: found_through_mesh(stack) == [])
    stack.supervisor.start_program("products-proxy")
    until(lambda: found_through_mesh(stack))


def test_only_a_ready_instance_gets_calls_and_none_that_drains(stack: Stack, instance: Faulty) -> None:
    sidecar = register(stack, instance)
    instance.status = 503
    sidecar.heartbeat()
    until(lambda: found_through_mesh(stack) == [])
    instance.status = 200
    sidecar.heartbeat()
    until(lambda: found_through_mesh(stack))
    sidecar.drain()
    assert found_through_mesh(stack) == []
    assert "products-web-sidecar-proxy" not in ask(stack, "/v1/agent/services")
    register(stack, instance)


# --- what ./souk up starts


def test_programs_call_through_their_proxies_and_ask_consul_nothing(tmp_path: Path) -> None:
    stack = planned(tmp_path, meshed=True, orders=2)
    ports = stack.installation.ports
    found = {program.name: program.environment for program in stack.services.programs()}
    for name, proxy in {"orders-web": "orders-proxy", "orders-web-2": "orders-proxy-2"}.items():
        assert json.loads(found[name]["SOUK_SERVICES"]) == {
            "products": f"http://127.0.0.1:{ports[f'{proxy}-to-products']}"
        }
    assert [*json.loads(found["notifications-celery"]["SOUK_SERVICES"])] == ["users"]
    assert {*json.loads(found["gateway"]["SOUK_SERVICES"])} == {*SERVICES}
    for name, environment in found.items():
        is_sidecar = "-sidecar" in name
        assert ("SOUK_CONSUL_TOKEN" in environment) == is_sidecar, name
        assert bool(environment.get("SOUK_CONSUL_URL")) == (is_sidecar or name in ("bank", "mailbox")), name
        if is_sidecar:
            proxy = name.replace("sidecar", "proxy")
            assert environment["SOUK_PROXY_PORT"] == str(ports[proxy])


def test_without_a_mesh_nothing_changes(tmp_path: Path) -> None:
    stack = planned(tmp_path)
    for program in stack.services.programs():
        assert "SOUK_PROXY_PORT" not in program.environment
        assert program.environment.get("SOUK_DISCOVERY") is None
    assert "connect" not in consul(stack).configuration()
    assert not [name for name in consul(stack).tokens() if "proxy" in name]
    assert not [name for name in stack.installation.ports if "proxy" in name]


@pytest.mark.parametrize("given", [{"SOUK_WITHOUT": "consul"}, {"SOUK_CONSUL_URL": "http://consul.test:8500"}])
def test_a_mesh_without_a_consul_of_ours_is_refused(tmp_path: Path, given: dict[str, str]) -> None:
    stack = planned(tmp_path, given, meshed=True)
    with pytest.raises(LaunchError, match="A mesh needs the Consul that"):
        stack.up()
    assert not stack.supervisor.is_running()


def test_a_proxy_is_ready_when_it_listens(stack: Stack) -> None:
    stack.probe_of("products-proxy")()
    with pytest.raises(OSError, match="refused"):
        probes.tcp("127.0.0.1", free_port())
