"""What Consul's catalogue and Kubernetes have in common, for services and for the gateway: who is called, and when."""

import asyncio
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from chassis import discovery
from chassis.base.settings import Settings
from services.gateway.discovery.names import Names
from services.gateway.runtime import follow
from services.gateway.settings import GatewaySettings
from tests.consul import ConsulServer, _shared_consul, consul, consul_binary
from tests.installation import until
from tests.kubernetes import Account, KubernetesServer

__all__ = ["_shared_consul", "consul", "consul_binary"]

SOON_SECONDS = 25
"""Less than a catalogue may hold a query without a change."""

ADDRESS = "10.0.0.1"


class Catalogue(Protocol):
    settings: dict[str, Any]
    domain: str
    """Of a service's name in the gateway's file."""

    def register(self, service: str, port: int, state: str = "ready") -> None:
        """An instance, by its port; state: ready, alive or ending."""

    def remove(self, service: str, port: int) -> None: ...
    def kill(self) -> None: ...
    def start(self) -> None: ...


class InConsul:
    domain = ".service.consul"

    def __init__(self, server: ConsulServer) -> None:
        self._server, self.settings = server, {"consul_url": server.url}
        self.kill, self.start = server.kill, server.start

    def register(self, service: str, port: int, state: str = "ready") -> None:
        status = {"ready": "passing", "alive": "warning", "ending": "critical"}[state]
        # An entry keeps its check's state over another registration.
        self.remove(service, port)
        self._server.register(service, f"{service}-{port}", port, status, Address=ADDRESS)

    def remove(self, service: str, port: int) -> None:
        self._server.request(f"/v1/agent/service/deregister/{service}-{port}", "PUT")


class InKubernetes:
    domain = ".default.svc.cluster.local"

    def __init__(self, server: KubernetesServer, folder: Path) -> None:
        self._server = server
        credentials = str(Account(server, folder, "list", "watch").folder)
        self.settings = {
            "discovery": "kubernetes",
            "kubernetes_url": server.url,
            "kubernetes_credentials": credentials,
        }
        self.start = server.server.start

    def register(self, service: str, port: int, state: str = "ready") -> None:
        conditions = {"ready": state == "ready", "terminating": state == "ending"}
        self._server.slice(
            service, {"addresses": [ADDRESS], "conditions": conditions}, port=port, name=f"{service}-{port}"
        )

    def remove(self, service: str, port: int) -> None:
        self._server.request("DELETE", f"/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/{service}-{port}")

    def kill(self) -> None:
        self._server.server.kill("kube-apiserver")


class Reader(Protocol):
    def __init__(self, catalogue: Catalogue, service: str) -> None: ...
    def ports(self) -> set[int | None]: ...
    def stop(self) -> None: ...


class OfServices:
    def __init__(self, catalogue: Catalogue, service: str) -> None:
        self._provider, self._service = discovery.provider(Settings(**catalogue.settings)), service

    def ports(self) -> set[int | None]:
        return {urlsplit(each.url).port for each in self._provider.instances(self._service)}

    def stop(self) -> None: ...


class OfTheGateway:
    def __init__(self, catalogue: Catalogue, service: str) -> None:
        settings = GatewaySettings(kong_file=Path("unused"), admin_port=0, **catalogue.settings)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._names = Names(partial(follow, settings))

        async def watch() -> Any:
            return self._names.watch(f"{service}{catalogue.domain}")

        self._resolution = asyncio.run_coroutine_threadsafe(watch(), self._loop).result(SOON_SECONDS)

    def ports(self) -> set[int | None]:
        return {each.port for each in self._resolution.addresses}

    def stop(self) -> None:
        async def end() -> None:
            self._names.retain(())
            await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(SOON_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture(params=["consul", pytest.param("kubernetes", marks=pytest.mark.kubernetes)])
def catalogue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Catalogue]:
    server = request.getfixturevalue(request.param)
    catalogue: Catalogue = InConsul(server) if request.param == "consul" else InKubernetes(server, tmp_path)
    yield catalogue
    catalogue.start()


@pytest.fixture
def service() -> str:
    """A name of its own for each test."""
    return f"users-{uuid4().hex[:8]}"


@pytest.fixture(params=[OfServices, OfTheGateway])
def reader(request: pytest.FixtureRequest, catalogue: Catalogue, service: str) -> Iterator[Reader]:
    reader: Reader = request.param(catalogue, service)
    yield reader
    reader.stop()


def sees(reader: Reader, *ports: int) -> None:
    until(lambda: reader.ports() == set(ports), SOON_SECONDS)


def test_instances_are_found_as_they_come_and_go(catalogue: Catalogue, reader: Reader, service: str) -> None:
    assert reader.ports() == set()
    catalogue.register(service, 8001)
    sees(reader, 8001)
    catalogue.register(service, 8002)
    sees(reader, 8001, 8002)
    catalogue.remove(service, 8001)
    sees(reader, 8002)


def test_only_ready_instances_are_called_and_where_none_is_those_alive(
    catalogue: Catalogue, reader: Reader, service: str
) -> None:
    for port, state in ((8001, "ready"), (8002, "alive"), (8003, "ending")):
        catalogue.register(service, port, state)
    sees(reader, 8001)
    catalogue.register(service, 8001, "alive")
    sees(reader, 8001, 8002)
    catalogue.register(service, 8002, "ready")
    sees(reader, 8002)


def test_known_instances_stay_while_the_catalogue_is_down(catalogue: Catalogue, reader: Reader, service: str) -> None:
    catalogue.register(service, 8001)
    sees(reader, 8001)
    catalogue.kill()
    assert reader.ports() == {8001}
    catalogue.start()
    # Consul forgets what was said of an instance; its sidecar says it again.
    for port in (8001, 8002):
        catalogue.register(service, port)
    sees(reader, 8001, 8002)


def test_another_services_instances_are_not_called(catalogue: Catalogue, reader: Reader, service: str) -> None:
    catalogue.register(f"{service}-other", 8009)
    catalogue.register(service, 8001)
    sees(reader, 8001)
