"""Fixed addresses, DNS names, and which provider the settings choose."""

import pytest

from chassis import discovery
from chassis.base.settings import Settings
from chassis.discovery.consul import Agent
from chassis.discovery.dns import TTL_SECONDS, Names
from chassis.discovery.static import Addresses
from chassis.discovery.watch import Watches


def urls(provider: discovery.Provider, service: str = "x") -> list[str]:
    return [instance.url for instance in provider.instances(service)]


def test_a_service_may_have_several_static_addresses() -> None:
    addresses = Addresses({"x": "http://10.0.0.1:80/, http://10.0.0.2:80", "y": ""})
    assert urls(addresses) == ["http://10.0.0.1:80", "http://10.0.0.2:80"]
    assert urls(addresses, "y") == urls(addresses, "z") == []
    assert addresses.instances("x") is addresses.instances("x")


class Resolver:
    def __init__(self) -> None:
        self.now, self.calls = 0.0, 0
        self.addresses: list[str] | None = ["10.0.0.1", "10.0.0.2"]
        self.names = Names("{service}.shop.svc:8000", self.resolve, lambda: self.now)

    def resolve(self, host: str, port: int) -> list[str]:
        assert (host, port) == ("x.shop.svc", 8000)
        self.calls += 1
        if self.addresses is None:
            raise OSError("no such name")
        return self.addresses


def test_a_name_is_resolved_again_and_its_last_addresses_survive_failures() -> None:
    resolver = Resolver()
    assert urls(resolver.names) == ["http://10.0.0.1:8000", "http://10.0.0.2:8000"]
    first = resolver.names.instances("x")
    assert (resolver.calls, resolver.names.instances("x") is first) == (1, True)
    resolver.now = TTL_SECONDS
    resolver.addresses = None
    assert (resolver.names.instances("x") is first, resolver.calls) == (True, 2)
    resolver.now *= 2
    resolver.addresses = ["10.0.0.3"]
    assert urls(resolver.names) == ["http://10.0.0.3:8000"]


def test_an_unknown_name_has_no_instances() -> None:
    resolver = Resolver()
    resolver.addresses = None
    assert urls(resolver.names) == []


def test_this_machines_name_is_resolved() -> None:
    assert "http://127.0.0.1:80" in urls(Names("localhost:80"))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({}, Addresses),
        ({"consul_url": "http://127.0.0.1:1"}, Watches),
        ({"consul_url": "http://127.0.0.1:1", "discovery": "static"}, Addresses),
        ({"discovery": "dns"}, Names),
    ],
)
def test_the_settings_choose_the_provider(values: dict[str, str], kind: type) -> None:
    assert type(discovery.provider(Settings(**values))) is kind


def test_an_agent_is_watched_once_per_process() -> None:
    settings = Settings(consul_url="http://127.0.0.1:1/")
    assert discovery.provider(settings) is discovery.provider(Settings(consul_url="http://127.0.0.1:1"))
    assert Agent.of(settings).url == "http://127.0.0.1:1"
