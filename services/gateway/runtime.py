"""The gateway in its loop: sockets, names, connections, and the change from one configuration to the next."""

import asyncio
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import ParamSpec, TypeVar

from structlog import get_logger

from chassis.discovery.agent import Agent
from services.gateway.app import Gateway
from services.gateway.balancing.health import HealthRegistry
from services.gateway.balancing.resources import Resources
from services.gateway.config import configuration
from services.gateway.config.errors import InvalidConfiguration
from services.gateway.discovery import consul, dns
from services.gateway.discovery.names import Address, Names
from services.gateway.proxy.edge import Edge
from services.gateway.settings import GatewaySettings
from services.gateway.wire.client import Patience
from services.gateway.wire.pools import Pools
from services.gateway.wire.server import HTTPServer

log = get_logger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

FINISH_SECONDS = 15.0
"""For requests in hand, after SIGTERM."""


def follow(agent: Agent, dns_server: str, name: str) -> AsyncIterator[list[Address]]:
    """Services of Consul from Consul, where it is told of; any other name from DNS."""
    if agent.url and name.endswith(consul.DOMAIN):
        return consul.follow(agent, name)
    return dns.follow(dns_server, name)


class Running:
    """One gateway process's worth. Made and used in its loop; `reload` may be called from other threads."""

    def __init__(self, gateway: Gateway, settings: GatewaySettings) -> None:
        self.gateway = gateway
        self.loop = asyncio.get_running_loop()
        self.resources = Resources(
            Pools(settings.idle_connections, settings.target_connections),
            HealthRegistry(),
            Names(partial(follow, Agent.of(settings), settings.dns_server)),
        )
        self.server = HTTPServer(gateway.serve, Patience(head=settings.head_seconds, body=settings.body_seconds))
        self._settings = settings
        gateway.switch_to(gateway.edge, self.resources)

    async def listen(self, http: socket.socket, https: socket.socket | None) -> None:
        await self.server.listen(http)
        if https is not None:
            await self.server.listen(https, _tls(self._settings))

    async def until_told_to_end(self) -> None:
        """SIGTERM or SIGINT ends, SIGHUP reads the file again."""
        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, ended.set)
        self.loop.add_signal_handler(signal.SIGHUP, self._read_again)
        await ended.wait()
        await self.server.stop(FINISH_SECONDS)

    def reload(self, text: str) -> Edge:
        """The edge of this file, in force. From another thread. Raises InvalidConfiguration; then the old one stays."""
        edge = Edge(configuration.load(text))
        self.in_loop(self.gateway.switch_to, edge, self.resources)
        return edge

    def in_loop(self, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """What `function` gives, called in the loop. From another thread."""

        async def call() -> R:
            return function(*arguments, **named)

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result()

    def _read_again(self) -> None:
        try:
            self.gateway.switch_to(Edge(configuration.load(self._settings.kong_file.read_text())), self.resources)
        except (OSError, InvalidConfiguration) as error:
            log.error("the file is refused, the one before stays", error=str(error))
        else:
            log.info("configuration in force", hash=self.gateway.edge.configuration.hash)


def _tls(settings: GatewaySettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    assert settings.tls_certificate is not None
    context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    return context
