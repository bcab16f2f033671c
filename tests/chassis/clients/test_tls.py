"""With a CA of its own, a service sends requests only to what proves to be the upstream."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from chassis.base.problems import Unavailable
from chassis.base.settings import Settings
from chassis.clients import Client
from chassis.clients.policy import Policy
from launcher import certificate
from launcher.state import StateFolder

Serve = Callable[[tuple[Path, Path] | None], tuple[str, list[Any]]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A function that starts a server with this certificate and key, or none; returns host:port and the headers seen."""
    servers = []

    def start(files: tuple[Path, Path] | None) -> tuple[str, list[Any]]:
        seen: list[Any] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                seen.append(dict(self.headers))
                body = json.dumps({"well": True}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if files:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*files)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"127.0.0.1:{server.server_port}", seen

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    made = StateFolder(tmp_path / "ours")
    certificate.ensure_internal(made, ["products", "orders"])
    return made


def settings_for(state: StateFolder, url: str) -> Settings:
    ca, _ = certificate.internal_paths(state, "ca")
    return Settings(services={"products": url}, internal_ca_file=str(ca), api_key="mine")


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_the_upstream_proves_its_name_whatever_the_catalogue_says(
    state: StateFolder, serve: Serve, scheme: str
) -> None:
    host, seen = serve(certificate.internal_paths(state, "products"))
    assert Client("products").get("/", {}, settings_for(state, f"{scheme}://{host}")) == {"well": True}
    assert [headers["X-API-Key"] for headers in seen] == ["mine"]


@pytest.mark.parametrize("fake", ["another service", "another CA", "no TLS"])
def test_a_fake_upstream_receives_neither_request_nor_key(
    state: StateFolder, tmp_path: Path, serve: Serve, fake: str
) -> None:
    other = StateFolder(tmp_path / "theirs")
    certificate.ensure_internal(other, ["products"])
    files = {
        "another service": certificate.internal_paths(state, "orders"),
        "another CA": certificate.internal_paths(other, "products"),
        "no TLS": None,
    }
    host, seen = serve(files[fake])
    for scheme in ("http", "https"):
        with pytest.raises(Unavailable):
            Client("products", Policy(tries=1)).get("/", {}, settings_for(state, f"{scheme}://{host}"))
    assert seen == []
