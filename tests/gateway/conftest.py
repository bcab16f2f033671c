import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop
import yaml

from services.gateway.app import Gateway
from services.gateway.config import configuration
from services.gateway.proxy.edge import Edge
from services.gateway.runtime import Runtime
from services.gateway.settings import GatewaySettings
from services.gateway.wire.server import bind
from tests.gateway.upstream import DEADLINE_SECONDS, Client, Upstream, running

Serve = Callable[..., Client]


class InThread:
    """One gateway process's worth, on a real port, in a loop and thread of its own."""

    def __init__(self, **settings: Any) -> None:
        self.settings = GatewaySettings(kong_file="unused", admin_port=0, idle_connections=8, **settings)
        self.gateway = Gateway(
            Edge(configuration.load('_format_version: "3.0"')), self.settings.trusted_ips, self.settings.real_ip_header
        )
        self.runtime: Runtime
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._is_ready.wait(DEADLINE_SECONDS)

    async def _serve(self) -> None:
        listening = bind("127.0.0.1", 0)
        self.port = listening.getsockname()[1]
        self.runtime = Runtime(self.gateway, self.settings)
        https = bind("127.0.0.1", 0) if self.settings.tls_certificate else None
        self.tls_port = https.getsockname()[1] if https else 0
        await self.runtime.listen(listening, https)
        self._ended = asyncio.Event()
        self._is_ready.set()
        await self._ended.wait()
        await self.runtime.server.stop(1.0)

    def load(self, text: str) -> Client:
        self.runtime.reload('_format_version: "3.0"\n' + text)
        return Client(self.port)

    def stop(self) -> None:
        self.runtime.loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(DEADLINE_SECONDS)


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
def edge() -> Iterator[InThread]:
    """`serve` gives it its configuration."""
    edge = InThread()
    yield edge
    edge.stop()


@pytest.fixture
def gateway(edge: InThread) -> Gateway:
    return edge.gateway


@pytest.fixture
def serve(edge: InThread, upstream: Upstream) -> Serve:
    """Make the gateway execute this document; `{upstream}` in it is the upstream's address. Gives a client."""

    def load(document: str | dict[str, Any]) -> Client:
        text = document if isinstance(document, str) else yaml.safe_dump(document)
        return edge.load(text.replace("{upstream}", upstream.address))

    return load


@pytest.fixture
def open_client(serve: Serve) -> Client:
    """Everything under / goes to the upstream as it is."""
    return serve("services: [{name: s, url: 'http://{upstream}', routes: [{name: r, paths: [/], strip_path: false}]}]")
