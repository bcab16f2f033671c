"""Targets by name: from Consul's health API, and from DNS with the ports and weights of SRV records."""

import asyncio
import json
import socketserver
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import dns.flags
import dns.message
import dns.rrset
import pytest

from chassis.base import telemetry
from services.gateway.admin.app import create_admin
from services.gateway.config.schema import Target
from services.gateway.discovery import watch
from services.gateway.discovery.names import Address, Names
from tests.gateway.conftest import InThread
from tests.gateway.upstream import DEADLINE_SECONDS, Client, Upstream, running
from tests.gateway.waiting import until

DOCUMENT = """
services: [{host: shop, routes: [{paths: [/]}]}]
upstreams: [{name: shop, targets: [{target: "NAME:PORT"}]}]
"""


class Catalog:
    """Serves Consul's blocking queries: responds once the index exceeds the client's, or after a while."""

    def __init__(self) -> None:
        self.index, self.instances = 1, list[tuple[str, int, int]]()
        self.queries: list[str] = []
        self.is_failing = False
        self._changed = threading.Condition()
        catalog = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002

            def do_GET(self) -> None:
                catalog.queries.append(self.path)
                query = parse_qs(urlsplit(self.path).query)
                catalog.wait(int(query["index"][0]))
                body = json.dumps(
                    [
                        {
                            "Node": {"Address": "127.0.0.1"},
                            "Service": {"Address": "", "Port": port, "Weights": {"Passing": weight}},
                        }
                        for _, port, weight in catalog.instances
                    ]
                ).encode()
                self.send_response(500 if catalog.is_failing else 200)
                self.send_header("X-Consul-Index", str(catalog.index))
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    def wait(self, index: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self.index > index, timeout=5)

    def update(self, *ports: int, weight: int = 1, is_failing: bool = False) -> None:
        with self._changed:
            self.instances = [("shop", port, weight) for port in ports]
            self.is_failing = is_failing
            self.index += 1
            self._changed.notify_all()


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def arrives(client: Client, *upstreams: Upstream) -> Callable[[], bool]:
    """Whether a few requests reach exactly these."""

    def check() -> bool:
        for each in upstreams:
            each.seen.clear()
        statuses = {client.get("/").status for _ in range(2 * len(upstreams))}
        return statuses == {200} and all(each.seen for each in upstreams)

    return check


def test_targets_follow_changes_in_consul(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "EMPTY_GRACE_SECONDS", 0.1)
    catalog = Catalog()
    catalog.update(upstream.port)
    with serving(catalog.server), running(Upstream()) as other:
        edge = InThread(consul_url=f"http://127.0.0.1:{catalog.server.server_port}")
        client = edge.load(DOCUMENT.replace("NAME", "shop.service.consul").replace("PORT", "80"))
        assert client.get("/").status == 200
        assert catalog.queries[0].startswith("/v1/health/service/shop?index=0&wait=")
        assert upstream.last.header("Host") == f"shop.service.consul:{upstream.port}"
        catalog.update(upstream.port, other.port, weight=3)
        until(arrives(client, upstream, other), lambda: "both should get requests")
        catalog.update(other.port, is_failing=True)
        until(lambda: len(catalog.queries) > 3, lambda: str(catalog.queries))
        assert client.get("/").status == 200, "the last instances are kept while Consul fails"
        catalog.update(other.port)
        until(
            lambda: [n.pool.port for p in edge.gateway.edge._peers.values() for n in p.nodes] == [other.port],
            lambda: "",
        )
        catalog.update()
        until(lambda: client.get("/").status == 503, lambda: "no instance is left")
        edge.load("services: []")
        assert not edge.runtime.resources.names._watched
        edge.stop()


def test_a_name_is_followed_again_after_an_error_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure_logging("gateway", "info")
    starts: list[str] = []

    async def follow(name: str) -> AsyncIterator[list[Address]]:
        starts.append(name)
        yield [Address(f"10.0.0.{len(starts)}")]
        if len(starts) == 1:
            raise RuntimeError("ours")
        await asyncio.Event().wait()

    async def second() -> None:
        names = Names(follow)
        resolution = names.watch("shop")
        async with asyncio.timeout(DEADLINE_SECONDS):
            while resolution.version < 2:
                await asyncio.sleep(0.01)
        assert resolution.addresses == (Address("10.0.0.2"),)
        names.retain([])

    asyncio.run(second())
    assert '"event": "discovery failed, starting again"' in capsys.readouterr().out


HOSTS = ("host.internal.", "plain.internal.", "shop.souk.svc.internal.")


class Zone:
    """A name server with one service and one host."""

    def __init__(self) -> None:
        self.port = 0
        self.has_service, self.is_silent = True, False
        zone = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                data, sock = self.request
                if zone.is_silent:
                    return
                query = dns.message.from_wire(data)
                sock.sendto(zone.answer(query).to_wire(), self.client_address)

        self.server = socketserver.ThreadingUDPServer(("127.0.0.1", 0), Handler)

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        name, kind = query.question[0].name.to_text(), query.question[0].rdtype
        if name == "shop.internal." and kind == dns.rdatatype.SRV and self.has_service:
            reply.answer.append(dns.rrset.from_text(name, 1, "IN", "SRV", f"1 5 {self.port} host.internal."))
        elif name == "shop.souk.svc.internal." and kind == dns.rdatatype.SRV:
            reply.answer.append(dns.rrset.from_text(name, 1, "IN", "SRV", "1 7 1 host.internal."))
        elif name in HOSTS and kind == dns.rdatatype.A:
            reply.answer.append(dns.rrset.from_text(name, 1, "IN", "A", "127.0.0.1"))
        elif name not in HOSTS:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        return reply


@pytest.fixture
def zone(upstream: Upstream) -> Iterator[Zone]:
    zone = Zone()
    zone.port = upstream.port
    with serving(zone.server):
        yield zone


@pytest.mark.parametrize(("name", "port"), [("shop.internal", "1"), ("plain.internal", "{port}")])
def test_names_are_resolved_by_dns_with_the_ports_of_srv_records(
    zone: Zone, upstream: Upstream, name: str, port: str
) -> None:
    edge = InThread(dns_server=f"127.0.0.1:{zone.server.server_address[1]}")
    client = edge.load(DOCUMENT.replace("NAME", name).replace("PORT", port.format(port=upstream.port)))
    assert client.get("/").status == 200
    assert upstream.last.header("Host") == f"{name}:{upstream.port}"
    if name == "shop.internal":
        zone.has_service = False
        until(lambda: client.get("/").status == 503, lambda: "the name is gone")
        zone.has_service = True
        until(lambda: client.get("/").status == 200, lambda: "the name is back")
    edge.stop()


def test_what_was_found_stays_while_the_name_server_is_silent(
    zone: Zone, upstream: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    edge = InThread(dns_server=f"127.0.0.1:{zone.server.server_address[1]}")
    client = edge.load(DOCUMENT.replace("NAME", "shop.internal").replace("PORT", "1"))
    assert client.get("/").status == 200
    zone.is_silent = True
    said = ""

    def has_noticed() -> bool:
        nonlocal said
        said += capsys.readouterr().out
        return "name server unavailable" in said

    until(has_noticed, lambda: "the silence is noticed")
    assert client.get("/").status == 200
    edge.stop()


@pytest.mark.parametrize(("name", "status"), [("shop.internal", 200), ("nobody.internal", 503)])
def test_an_edge_is_ready_once_it_knows_its_targets_or_that_there_are_none(zone: Zone, name: str, status: int) -> None:
    zone.is_silent = True
    edge = InThread(dns_server=f"127.0.0.1:{zone.server.server_address[1]}")
    client = edge.load(DOCUMENT.replace("NAME", name).replace("PORT", "1"))
    admin = create_admin(edge.runtime, {}).test_client()
    waiting = admin.get("/status/ready")
    assert (waiting.status_code, waiting.json) == (503, {"message": f"no addresses yet for {name}"})
    assert admin.get("/health/ready").status_code == 503
    zone.is_silent = False
    until(lambda: admin.get("/status/ready").status_code == 200, lambda: "the name server responds")
    until(lambda: admin.get("/health/ready").status_code == 200, lambda: "the check is made again")
    assert client.get("/").status == status
    # What nobody knows yet keeps nothing else from being served.
    zone.is_silent = True
    edge.load(DOCUMENT.replace("NAME", "new.internal").replace("PORT", "1"))
    assert edge.runtime.resources.names.unresolved() == ["new.internal"]
    assert admin.get("/status/ready").status_code == 200
    edge.stop()


def test_a_kubernetes_service_has_the_port_and_weight_of_its_target(zone: Zone, upstream: Upstream) -> None:
    """Not those of its SRV records, which weigh all Services alike."""
    edge = InThread(dns_server=f"127.0.0.1:{zone.server.server_address[1]}")
    client = edge.load(DOCUMENT.replace("NAME", "shop.souk.svc.internal").replace("PORT", str(upstream.port)))
    assert client.get("/").status == 200
    [node] = [node for peers in edge.gateway.edge._peers.values() for node in peers.nodes]
    assert node.weight == Target(target="any").weight
    edge.stop()


def test_a_name_from_the_hosts_file(upstream: Upstream) -> None:
    edge = InThread()
    assert edge.load(DOCUMENT.replace("NAME", "localhost").replace("PORT", str(upstream.port))).get("/").status == 200
    edge.stop()
