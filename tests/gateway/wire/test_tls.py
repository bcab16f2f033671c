"""HTTPS beside HTTP, with the launcher's certificate, and upstreams with TLS."""

import http.client
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher import certificate
from launcher.errors import LaunchError
from launcher.state import StateFolder
from tests.gateway.conftest import InThread
from tests.gateway.upstream import DEADLINE_SECONDS, Response, Upstream


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    state = StateFolder(tmp_path_factory.mktemp("tls"))
    certificate.ensure(state, {})
    return certificate.paths(state, {})


@pytest.fixture(scope="module")
def secure(files: tuple[Path, Path]) -> Iterator[InThread]:
    edge = InThread(tls_certificate=files[0], tls_key=files[1])
    yield edge
    edge.stop()


@pytest.fixture
def trust(files: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=files[0])


def connect(edge: InThread, trust: ssl.SSLContext) -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection("localhost", edge.tls_port, timeout=DEADLINE_SECONDS, context=trust)


def test_a_client_that_trusts_the_certificate_is_served(
    secure: InThread, trust: ssl.SSLContext, upstream: Upstream
) -> None:
    route = "{paths: [/], protocols: [https], strip_path: false}"
    plain = secure.load(f"services: [{{url: 'http://{upstream.address}', routes: [{route}]}}]")
    connection = connect(secure, trust)
    for size in (3, 300_000):
        connection.request("POST", "/a", b"x" * size)
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"{}")
        assert len(upstream.last.body) == size
    connection.close()
    assert upstream.last.header("X-Forwarded-Proto") == "https"
    assert upstream.last.header("X-Forwarded-Port") == str(secure.tls_port)
    assert plain.get("/a").status == 426


def test_a_redirect_leads_to_https(secure: InThread, upstream: Upstream) -> None:
    route = "{paths: [/], protocols: [https], https_redirect_status_code: 308}"
    client = secure.load(f"services: [{{url: 'http://{upstream.address}', routes: [{route}]}}]")
    reply = client.get("/a?b=1", {"Host": "shop.test:8000"})
    assert (reply.status, reply.header("Location")) == (308, "https://shop.test/a?b=1")


HSTS = """
plugins:
- name: post-function
  config:
    header_filter:
    - if kong.request.get_forwarded_scheme() == "https" then kong.response.set_header("Strict-Transport-Security", "max-age=60") end
"""


def test_responses_over_https_carry_hsts(secure: InThread, trust: ssl.SSLContext, upstream: Upstream) -> None:
    upstream.responses = [Response(headers=[("Strict-Transport-Security", "max-age=0")])]
    service = f"services: [{{url: 'http://{upstream.address}', routes: [{{paths: [/a]}}]}}]"
    plain = secure.load(service + HSTS)
    for path in ("/a", "/nowhere"):
        connection = connect(secure, trust)
        connection.request("GET", path)
        assert connection.getresponse().headers.get_all("Strict-Transport-Security") == ["max-age=60"]
        connection.close()
    assert plain.get("/nowhere").header("Strict-Transport-Security") is None
    # Sent by an untrusted client.
    assert plain.get("/nowhere", {"X-Forwarded-Proto": "https"}).header("Strict-Transport-Security") is None


def test_a_trusted_proxy_may_report_https() -> None:
    edge = InThread(trusted_ips=["127.0.0.0/8"])
    client = edge.load(HSTS)
    assert client.get("/", {"X-Forwarded-Proto": "https"}).header("Strict-Transport-Security") == "max-age=60"
    assert client.get("/").header("Strict-Transport-Security") is None
    edge.stop()


def test_what_is_not_tls_is_closed(secure: InThread) -> None:
    with socket.create_connection(("127.0.0.1", secure.tls_port), timeout=DEADLINE_SECONDS) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        received = b""
        try:
            while block := connection.recv(1024):
                received += block
        except ConnectionResetError:
            pass
    assert b"HTTP" not in received


def test_an_unfinished_handshake_is_aborted(files: tuple[Path, Path]) -> None:
    edge = InThread(tls_certificate=files[0], tls_key=files[1], head_seconds=0.3)
    with socket.create_connection(("127.0.0.1", edge.tls_port), timeout=DEADLINE_SECONDS) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01")
        assert connection.recv(1024) == b""
    edge.stop()


@pytest.mark.parametrize(("verify", "status"), [("", 200), (", tls_verify: true", 502)])
def test_an_upstream_may_speak_tls(secure: InThread, upstream: Upstream, verify: str, status: int) -> None:
    inner = InThread(tls_certificate=secure.settings.tls_certificate, tls_key=secure.settings.tls_key)
    inner.load(f"services: [{{url: 'http://{upstream.address}', routes: [{{paths: [/]}}]}}]")
    service = f"url: 'https://localhost:{inner.tls_port}', retries: 0{verify}"
    client = secure.load(f"services: [{{{service}, routes: [{{paths: [/]}}]}}]")
    assert [client.get("/").status for _ in range(2)] == [status] * 2
    inner.stop()


def test_a_certificate_is_kept_while_valid_and_replaced_when_lost(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    certificate.ensure(state, {})
    made, key = certificate.paths(state, {})
    first = made.read_bytes()
    assert (made.stat().st_mode & 0o77, key.stat().st_mode & 0o77) == (0, 0)
    certificate.ensure(state, {})
    assert made.read_bytes() == first
    made.write_text("no certificate")
    certificate.ensure(state, {})
    assert made.read_bytes() not in (first, b"no certificate")
    key.unlink()
    certificate.ensure(state, {})
    ssl.create_default_context(cafile=made).load_cert_chain(made, key)


def test_a_given_certificate_is_used_and_needs_its_key(tmp_path: Path, files: tuple[Path, Path]) -> None:
    state = StateFolder(tmp_path)
    given = {"SOUK_TLS_CERTIFICATE": str(files[0]), "SOUK_TLS_KEY": str(files[1])}
    certificate.ensure(state, given)
    assert certificate.paths(state, given) == files
    assert not (tmp_path / "tls").exists()
    with pytest.raises(LaunchError, match="must both name a file"):
        certificate.paths(state, {"SOUK_TLS_CERTIFICATE": str(files[0])})
