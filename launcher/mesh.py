"""Consul Connect: a proxy beside each web process, and services that call each other only through it.

Consul's built-in proxy, as Envoy is in no package here. What that is worth on one machine: docs/mesh.md.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from launcher.installation import Installation
from launcher.manifests import CALLS
from launcher.program import Program
from launcher.servers import Consul


def proxy_of(program: str) -> str:
    """users-proxy-2 for users-web-2; a service's other programs share the first."""
    if "-web" in program:
        return program.replace("-web", "-proxy", 1)
    return f"{program.partition('-')[0]}-proxy"


def is_proxy(program: str) -> bool:
    return "-proxy" in program


def ports_of(webs: Iterable[str]) -> dict[str, int]:
    """Of the proxies of these programs: where each listens for others, and where for each service called through it."""
    proxies = [proxy_of(web) for web in webs]
    return {name: 0 for proxy in proxies for name in (proxy, *(_listener(proxy, each) for each in _called(proxy)))}


def upstreams(program: str, ports: Mapping[str, int]) -> dict[str, str]:
    """host:port by service."""
    proxy = proxy_of(program)
    return {service: f"127.0.0.1:{ports[_listener(proxy, service)]}" for service in _called(proxy)}


def programs(installation: Installation, consul: Consul, webs: Iterable[str]) -> Iterator[Program]:
    binary = consul.binary()
    if binary is None:
        return
    for web in webs:
        yield _program(installation, consul, binary, web)


def _program(installation: Installation, consul: Consul, binary: Path, web: str) -> Program:
    name, service = proxy_of(web), web.partition("-")[0]
    inbound = [f"-listen={installation.address(name)}", f"-service-addr={installation.address(web)}"]
    outbound = [f"-upstream={called}:{address}" for called, address in upstreams(web, installation.ports).items()]
    environment = {
        "CONSUL_HTTP_ADDR": consul.own_url(),
        "CONSUL_HTTP_TOKEN": consul.proxy_token(service),
        "GOGC": "40",
        "GOMAXPROCS": "1",
    }
    return Program(name, [binary, "connect", "proxy", f"-service={service}", *inbound, *outbound], environment)


def _called(proxy: str) -> list[str]:
    return CALLS[proxy.partition("-")[0]]


def _listener(proxy: str, service: str) -> str:
    """Name of its port."""
    return f"{proxy}-to-{service}"
