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
    """A whole gateway on a real port, in its own loop and thread."""

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
    """Reset for each test: no requests recorded, responds 200."""
    _upstream.reset()
    return _upstream


@pytest.fixture(scope="session")
def edge() -> Iterator[InThread]:
    """Configured by `serve`."""
    edge = InThread()
    yield edge
    edge.stop()


@pytest.fixture
def gateway(edge: InThread) -> Gateway:
    return edge.gateway


@pytest.fixture
def serve(edge: InThread, upstream: Upstream) -> Serve:
    """Load this document into the gateway, with `{upstream}` replaced by the upstream's address, and return a client."""

    def load(document: str | dict[str, Any]) -> Client:
        text = document if isinstance(document, str) else yaml.safe_dump(document)
        return edge.load(text.replace("{upstream}", upstream.address))

    return load


@pytest.fixture
def open_client(serve: Serve) -> Client:
    """Forwards every path to the upstream unchanged."""
    return serve("services: [{name: s, url: 'http://{upstream}', routes: [{name: r, paths: [/], strip_path: false}]}]")
