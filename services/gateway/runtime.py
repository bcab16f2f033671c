"""The running gateway."""

import asyncio
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import ParamSpec, TypeVar

from structlog import get_logger

from chassis.base.telemetry import OwnGauge
from chassis.discovery.agent import Agent
from chassis.discovery.api_server import APIServer
from services.gateway.app import Gateway
from services.gateway.balancing.health import HealthRegistry
from services.gateway.balancing.resources import Resources
from services.gateway.config import configuration
from services.gateway.config.errors import InvalidConfiguration
from services.gateway.discovery import consul, dns, kubernetes
from services.gateway.discovery.names import Address, Names
from services.gateway.discovery.watch import watch
from services.gateway.proxy.edge import Edge
from services.gateway.settings import GatewaySettings
from services.gateway.wire.client import ClientTimeouts
from services.gateway.wire.pools import Pools
from services.gateway.wire.server import HTTPServer

log = get_logger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

CERTIFICATE_EXPIRES = OwnGauge(
    "souk_certificate_expires_timestamp_seconds", "When the certificate of the edge expires."
)

FINISH_SECONDS = 15.0
"""For requests in progress after SIGTERM."""


def follow(settings: GatewaySettings, name: str) -> AsyncIterator[list[Address]]:
    """Consul and Kubernetes for their services, else DNS."""
    if settings.consul_url and name.endswith(consul.DOMAIN):
        return watch(name, consul.Query(Agent.of(settings), name).fetch)
    if settings.discovery == "kubernetes" and kubernetes.NAME.fullmatch(name):
        return watch(name, kubernetes.Query(APIServer.of(settings), name).fetch)
    # A cluster's DNS has SRV records of each Service. Their weights would replace the targets' own.
    return dns.follow(settings.dns_server, name, has_srv=not kubernetes.NAME.fullmatch(name))


class Runtime:
    """Create and use in the loop; other threads use `reload` and `in_loop`."""

    def __init__(self, gateway: Gateway, settings: GatewaySettings) -> None:
        self.gateway = gateway
        self.loop = asyncio.get_running_loop()
        self.resources = Resources(
            Pools(settings.idle_connections, settings.target_connections, settings.internal_ca_file),
            HealthRegistry(),
            Names(partial(follow, settings)),
        )
        self.server = HTTPServer(gateway.serve, ClientTimeouts(head=settings.head_seconds, body=settings.body_seconds))
        self.settings = settings
        gateway.switch_to(gateway.edge, self.resources)

    async def listen(self, http: socket.socket, https: socket.socket | None) -> None:
        await self.server.listen(http)
        if https is not None:
            await self.server.listen(https, _tls(self.settings))

    async def run_until_signalled(self) -> None:
        """SIGTERM and SIGINT stop, SIGHUP reloads."""
        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, ended.set)
        self.loop.add_signal_handler(signal.SIGHUP, self._reload_file)
        await ended.wait()
        await self.server.stop(FINISH_SECONDS)

    def reload(self, text: str) -> Edge:
        """From another thread. Raises InvalidConfiguration and keeps the previous file."""
        edge = Edge(configuration.load(text))
        self.in_loop(self.gateway.switch_to, edge, self.resources)
        return edge

    def in_loop(self, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """From another thread."""

        async def call() -> R:
            return function(*arguments, **named)

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result()

    def _reload_file(self) -> None:
        try:
            self.gateway.switch_to(Edge(configuration.load(self.settings.kong_file.read_text())), self.resources)
        except (OSError, InvalidConfiguration) as error:
            log.error("file rejected, keeping the previous configuration", error=str(error))
        else:
            log.info("configuration loaded", hash=self.gateway.edge.configuration.hash)


def _tls(settings: GatewaySettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    assert settings.tls_certificate is not None
    context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    from cryptography import x509  # its memory is for those that serve TLS

    certificate = x509.load_pem_x509_certificate(settings.tls_certificate.read_bytes())
    CERTIFICATE_EXPIRES.set(certificate.not_valid_after_utc.timestamp())
    return context
