"""What is started: the chart's servers, and a Kong that the golden cases configure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from launcher import kong, ports, probes
from launcher.kubernetes import secrets
from launcher.kubernetes.chart import CHART
from launcher.stack import Stack
from launcher.temporary import SERVERS

VARIABLES = {name: f"SOUK_TEST_{name.upper()}_IMAGE" for name in (*SERVERS, "consul", "kong")}
"""Each names another image."""


@dataclass(frozen=True)
class Container:
    name: str
    image: str
    command: Sequence[str] = ()
    """In place of the image's own; empty for that."""

    user: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    """Content by path."""

    port: int = 0
    shares_network: bool = False
    """With this machine."""


def described(made: str = "", chosen: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """The chart's servers, by name. made: an image for all. chosen: images by server."""
    found: dict[str, dict[str, Any]] = {}
    for file in ("values/kind", *(["values/cluster"] if made else [])):
        for name, server in chart_file(file)["servers"].items():
            found[name] = found.get(name, {}) | server
    named = {name: image for name in found if (image := (chosen or {}).get(name) or made)}
    return {name: server | ({"image": named[name]} if name in named else {}) for name, server in found.items()}


def planned(stack: Stack, servers: Mapping[str, Mapping[str, Any]]) -> Iterator[Container]:
    """As compose.yaml starts them, with secrets of their own."""
    stack.services.keys.ensure()
    contents = secrets.contents(stack)
    for name in SERVERS:
        server, content = servers[name], contents[name]
        secret = {key: value for key, value in content.items() if key.isupper()}
        folders = [str(secrets.FOLDER), *([server["initScripts"]] if "initScripts" in server else [])]
        yield Container(
            name,
            server["image"],
            server["command"],
            str(server["user"]),
            {"POD_IP": "0.0.0.0", **server.get("environment", {}), **secret},  # noqa: S104 - a container's
            {f"{each}/{key}": value for each in folders for key, value in content.items() if key not in secret},
            server["ports"][name],
        )


class Edge:
    """A Kong that the golden cases configure. It shares this machine's network, as it calls upstreams of the tests."""

    def __init__(self, image: str) -> None:
        self.image = image
        listen = ports.any_free()
        self._listen, self._admin = f"127.0.0.1:{listen}", f"127.0.0.1:{ports.any_free([listen])}"

    def container(self) -> Container:
        environment = kong.environment(Path(), self._listen, dns="", trusted_ips="")
        del environment["KONG_DECLARATIVE_CONFIG"]
        environment |= {"KONG_ADMIN_LISTEN": self._admin, "KONG_STATUS_LISTEN": "off"}
        # Each worker would count failures by itself until the others hear of them.
        environment["KONG_NGINX_WORKER_PROCESSES"] = "1"
        return Container("kong", self.image, environment=environment, shares_network=True)

    @property
    def urls(self) -> dict[str, str]:
        return {"SOUK_TEST_KONG_URL": f"http://{self._listen}", "SOUK_TEST_KONG_ADMIN_URL": f"http://{self._admin}"}

    def probe(self) -> None:
        probes.http(f"http://{self._admin}/status")


def chart_file(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CHART / f"{name}.yaml").read_text())
    return found
