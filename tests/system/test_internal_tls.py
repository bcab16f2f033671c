"""An installation with TLS between its services."""

import json
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from launcher import catalogue, certificate
from launcher.stack import Stack
from launcher.state import StateFolder
from tests.installation import catalogue_of, installed, new_person, until

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with installed(tmp_path_factory.mktemp("tls"), SOUK_INTERNAL_TLS="1") as running:
        yield running


class Fake:
    """Says it is products, with a certificate of another CA."""

    def __init__(self, folder: Path) -> None:
        received = self.received = list[bytes]()

        class Handler(BaseHTTPRequestHandler):
            def handle(self) -> None:
                received.append(self.rfile.read(1))

        state = StateFolder(folder / "theirs")
        certificate.ensure_internal(state, ["products"])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate.internal_paths(state, "products"))
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def register(stack: Stack, fake: Fake) -> None:
    """With the token of products' sidecar, as if it were stolen."""
    entry = {"ID": "fake", "Name": "products", "Address": "127.0.0.1", "Port": fake.server.server_port}
    token = stack.credentials("products-sidecar")["SOUK_CONSUL_TOKEN"]
    request = urllib.request.Request(
        f"{stack.url('consul')}/v1/agent/service/register",
        json.dumps(entry).encode(),
        {"X-Consul-Token": token},
        method="PUT",
    )
    urllib.request.urlopen(request, timeout=10).close()


def instances(stack: Stack) -> list[str]:
    return [each.instance for each in catalogue.read(stack) if each.service == "products"]


def test_orders_are_paid_and_a_fake_service_gets_nothing(secure: Stack, tmp_path: Path) -> None:
    leila, product = new_person(secure)(), catalogue_of(secure)(5)
    order: Any = leila.order(product)
    assert leila.settled(order["id"])["status"] == "confirmed"
    fake = Fake(tmp_path)
    register(secure, fake)
    secure.supervisor.stop(["products-sidecar", "products-web"])
    until(lambda: instances(secure) == ["fake"])
    for path in (f"/products/{product}", "/products/"):
        until(lambda path=path: leila.send("GET", path).status == 503)
    assert leila.try_order(product, uuid4().hex).status in (502, 503)
    assert b"".join(fake.received) == b""
    fake.server.shutdown()
