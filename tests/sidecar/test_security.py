"""A Consul with ACLs, and one that requires mutual TLS."""

import asyncio
import shutil
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from urllib3.exceptions import HTTPError

from chassis import discovery
from chassis.base.settings import Settings as ChassisSettings
from chassis.discovery.consul import Agent, Query
from services.gateway.discovery.consul import Query as GatewayQuery
from services.sidecar.settings import Settings
from services.sidecar.sidecar import Sidecar
from tests.chassis.faulty import Faulty, faulty
from tests.consul import ConsulServer
from tests.installation import until
from tests.ports import free_port

TOKEN = "a9d9c1f5-0000-4000-8000-3e5a4c6b7d8e"


@pytest.fixture
def instance() -> Iterator[Faulty]:
    with faulty() as started:
        yield started


def test_an_acl_token_is_required(consul_binary: Path, tmp_path: Path, instance: Faulty) -> None:
    acl = {"enabled": True, "default_policy": "deny", "tokens": {"master": TOKEN, "agent": TOKEN}}
    consul = ConsulServer(consul_binary, tmp_path, acl=acl)
    consul.headers = {"X-Consul-Token": TOKEN}
    try:
        consul.start()
        anonymous = Sidecar(Settings("users", "users-web", instance.url, consul.url))
        authorized = Sidecar(Settings("users", "users-web", instance.url, consul.url, consul_token=TOKEN))
        anonymous.heartbeat()
        assert anonymous.state == "forbidden"
        consul.until(lambda: (authorized.heartbeat(), authorized.state == "registered")[1])
        settings = ChassisSettings(consul_url=consul.url, consul_token=TOKEN)
        assert [each.id for each in discovery.provider(settings).instances("users")] == ["users-web"]
        assert Query(Agent(consul.url), "users").fetch(0.1) == []
    finally:
        consul.kill()


@pytest.fixture
def strict(consul_binary: Path, tmp_path: Path) -> Iterator[tuple[ConsulServer, dict[str, str]]]:
    """One that requires mutual TLS, and what a client needs for it."""
    ca, certificate, key = certificates(tmp_path)
    port = free_port()
    tls = {"ca_file": ca, "cert_file": certificate, "key_file": key, "verify_incoming_rpc": False}
    ports = {
        "http": -1,
        "https": port,
        "server": free_port(),
        "serf_lan": free_port(),
        "grpc": -1,
        "dns": -1,
        "serf_wan": -1,
    }
    consul = ConsulServer(consul_binary, tmp_path, **tls, verify_incoming_https=True, ports=ports)
    consul.url = f"https://127.0.0.1:{port}"
    consul.context = ssl.create_default_context(cafile=ca)
    consul.context.load_cert_chain(certificate, key)
    try:
        consul.start()
        yield consul, {"consul_ca_file": ca, "consul_certificate_file": certificate, "consul_key_file": key}
    finally:
        consul.kill()


def test_mutual_tls_authenticates_both_sides(strict: tuple[ConsulServer, dict[str, str]], instance: Faulty) -> None:
    consul, client_tls = strict
    without_ours = {"consul_ca_file": client_tls["consul_ca_file"]}
    for values, state in ((without_ours, "consul unavailable"), (client_tls, "registered")):
        sidecar = Sidecar(Settings("users", "users-web", instance.url, consul.url, **values))
        sidecar.heartbeat()
        assert sidecar.state == state
    settings = ChassisSettings(consul_url=consul.url, **client_tls)
    assert [each.id for each in discovery.provider(settings).instances("users")] == ["users-web"]


def test_replaced_certificates_are_used_without_a_restart(
    strict: tuple[ConsulServer, dict[str, str]], tmp_path: Path, instance: Faulty
) -> None:
    consul, right = strict
    folder = tmp_path / "ours"
    folder.mkdir()
    ours = dict(zip(right, certificates(folder), strict=True))
    agent = Agent.of(ChassisSettings(consul_url=consul.url, **ours))
    sidecar = Sidecar(Settings("users", "users-web", instance.url, consul.url, **ours))
    of_services, of_the_gateway = Query(agent, "users"), GatewayQuery(agent, "users.service.consul")

    def found() -> int:
        return len(of_services.fetch(0.1)) + len(asyncio.run(of_the_gateway.fetch(0.1)))

    sidecar.heartbeat()
    assert sidecar.state == "consul unavailable"
    for fetch in (lambda: of_services.fetch(0.1), lambda: asyncio.run(of_the_gateway.fetch(0.1))):
        with pytest.raises((OSError, HTTPError)):
            fetch()
    for name, path in right.items():
        shutil.copy(path, ours[name])
    sidecar.heartbeat()
    assert sidecar.state == "registered"
    # Files are looked at once a second.
    until(lambda: succeeds(found) and found() == 2)


def succeeds(call: Callable[[], object]) -> bool:
    try:
        call()
    except (OSError, HTTPError):
        return False
    return True


def certificates(folder: Path) -> tuple[str, str, str]:
    """Files: a CA, a certificate for localhost that it signed, and its key."""
    names = {name: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("authority", "localhost")}
    authority, mine = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    files = {}
    for name, key in (("authority", authority), ("localhost", mine)):
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(
            names["authority"], names[name], key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1)
        )
        builder = builder.add_extension(x509.BasicConstraints(name == "authority", None), critical=True)
        alternatives = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        files[name] = folder / f"{name}.pem"
        files[name].write_bytes(builder.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    key_file = folder / "key.pem"
    plain = serialization.NoEncryption()
    key_file.write_bytes(mine.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return str(files["authority"]), str(files["localhost"]), str(key_file)
