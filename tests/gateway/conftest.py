import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from werkzeug.serving import make_server

from services.gateway import configuration
from services.gateway.admin import Quiet
from services.gateway.app import Gateway
from services.gateway.edge import Edge
from tests.gateway.upstream import Client, Upstream, running

Serve = Callable[..., Client]


class Transparent(Quiet):
    """Adds no Server and Date of its own, like granian."""

    def send_response(self, code: int, message: str | None = None) -> None:
        self.send_response_only(code, message)


@pytest.fixture(scope="session")
def _upstream() -> Iterator[Upstream]:
    with running(Upstream()) as upstream:
        yield upstream


@pytest.fixture
def upstream(_upstream: Upstream) -> Upstream:
    """Fresh for each test: nothing seen yet, answers 200."""
    _upstream.reset()
    return _upstream


@pytest.fixture(scope="session")
def gateway() -> Iterator[Gateway]:
    """One gateway process's worth, on a real port; `serve` gives it its configuration."""
    gateway = Gateway(Edge(configuration.load('_format_version: "3.0"'), 8))
    server = make_server("127.0.0.1", 0, gateway, threaded=True, request_handler=Transparent)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    gateway.config["port"] = server.server_port
    yield gateway
    server.shutdown()
    server.server_close()


@pytest.fixture
def serve(gateway: Gateway, upstream: Upstream) -> Serve:
    """Make the gateway execute this document; `{upstream}` in it is the upstream's address. Gives a client."""

    def load(document: str | dict[str, Any]) -> Client:
        text = document if isinstance(document, str) else yaml.safe_dump(document)
        text = text.replace("{upstream}", upstream.address)
        gateway.edge = Edge(configuration.load('_format_version: "3.0"\n' + text), 8)
        return Client(gateway.config["port"])

    return load


@pytest.fixture
def open_client(serve: Serve) -> Client:
    """Everything under / goes to the upstream as it is."""
    return serve("services: [{name: s, url: 'http://{upstream}', routes: [{name: r, paths: [/], strip_path: false}]}]")
