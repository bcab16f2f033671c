"""Consul: the machine's own, else Debian's package, unpacked. Nobody may read or write without a token."""

import base64
import hashlib
import shlex
import shutil
import sys
import uuid
from pathlib import Path
from typing import Any

from launcher import debian, probes
from launcher.errors import LaunchError
from launcher.manifests import CALLS, ROLES, SERVICES
from launcher.program import Program
from launcher.servers.server import Server

# Debian 12 has no Consul; Debian 11's needs only libc.
PACKAGES = {
    "amd64": debian.Package(
        "pool/main/c/consul/consul_1.8.7+dfsg1-2+b3_amd64.deb",
        "e4e888bba104daba1d9161f49bfc52649a7e4efd45b1a7ead5bc54f2cb9c89d9",
    ),
    "arm64": debian.Package(
        "pool/main/c/consul/consul_1.8.7+dfsg1-2+b3_arm64.deb",
        "7318cfa77a7ba6f71dd096e44353279de246ffc6561216ace42353685dcf8255",
    ),
}


AGENT = """
node "souk" { policy = "write" }
agent "souk" { policy = "write" }
service_prefix "" { policy = "read" }
"""

METRICS = 'agent "souk" { policy = "read" }'

READER = """
service_prefix "" { policy = "read" }
node_prefix "" { policy = "read" }
"""

SIDECAR = """
service "%s" { policy = "write" }
node_prefix "" { policy = "read" }
agent_prefix "" { policy = "read" }
"""

# In a mesh a sidecar registers its instance's proxy, too.
REGISTERS_PROXY = 'service "%s-sidecar-proxy" { policy = "write" }\n'

# Its certificate, and who may call its service.
PROXY = """
service "%s" { policy = "write" }
node_prefix "" { policy = "read" }
"""

CALLS_THROUGH = """
service "%s" { policy = "read" }
service "%s-sidecar-proxy" { policy = "read" }
"""

NODE = "souk"


class Consul(Server):
    name = "consul"
    title = "Consul"
    variable = "SOUK_CONSUL_URL"
    ports = {"consul": 8500, "consul-server": 8300, "consul-gossip": 8301}  # noqa: RUF012 - a constant of the class
    without = "No Consul: services use fixed addresses."

    supported = (1, 21)
    instead = "no longer supported; install Consul 1.21 or later, or set SOUK_CONSUL_URL."

    def version(self) -> str:
        token = self.installation.environment.get("SOUK_CONSUL_TOKEN", "") if self.given else self.management_token
        return probes.consul_version(self.url, token)

    def find(self) -> bool:
        if self.binary():
            return True
        package = PACKAGES.get(debian.architecture() or "")
        if not package:
            return False
        try:
            with self.installation.progress.step("Consul package from Debian, unpacked into the state folder"):
                debian.unpack(package, {"usr/bin/consul": self._unpacked})
        except LaunchError as error:
            self.installation.progress.report(str(error))
            return False
        return True

    def prepare(self) -> None:
        here = {
            "data_dir": str(self.state.data / "consul"),
            "bind_addr": "127.0.0.1",
            "client_addr": "127.0.0.1",
        }
        self.state.write_json("consul.json", self.configuration() | here)
        wanted: dict[str, Any] = {"url": self.own_url(), "management": self.management_token, "tokens": self.tokens()}
        if self.installation.is_meshed:
            wanted["intentions"] = [(caller, service) for caller, called in CALLS.items() for service in called]
        self.state.write_json("consul-acl.json", wanted)

    def configuration(self) -> dict[str, Any]:
        """Without its place."""
        return {
            "server": True,
            "bootstrap_expect": 1,
            "node_name": NODE,
            "datacenter": "souk",
            # Who has no key may not join.
            "encrypt": base64.b64encode(hashlib.sha256(self.secret("consul-gossip").encode()).digest()).decode(),
            "acl": {
                "enabled": True,
                "default_policy": "deny",
                "tokens": {"master": self.management_token, "agent": self._token("agent")},
            },
            "ports": {
                "http": self.port("consul"),
                "server": self.port("consul-server"),
                "serf_lan": self.port("consul-gossip"),
                **dict.fromkeys(("dns", "grpc", "https", "serf_wan"), -1),
            },
            "ui": True,
            "disable_update_check": True,
            # The only candidate need not wait.
            "performance": {"raft_multiplier": 1},
            "log_level": "WARN",
            "telemetry": {"prometheus_retention_time": "1m", "disable_hostname": True},
            **({"connect": {"enabled": True}} if self.installation.is_meshed else {}),
        }

    def tokens(self) -> dict[str, tuple[str, str]]:
        """Token and rules by policy."""
        return {name: (self._token(name), rules) for name, rules in self._policies().items()}

    def _policies(self) -> dict[str, str]:
        """Rules by name. The readers' come last, as `probe` has their token."""
        sidecar, proxies = SIDECAR, dict[str, str]()
        if self.installation.is_meshed:
            sidecar += REGISTERS_PROXY
            for name, called in CALLS.items():
                rules = [PROXY % name, *(CALLS_THROUGH % (each, each) for each in called)]
                proxies[f"{name}-proxy"] = "".join(rules)
        return {
            "agent": AGENT,
            **{f"{name}-sidecar": sidecar.replace("%s", name) for name in SERVICES},
            **proxies,
            "metrics": METRICS,
            "readers": READER,
        }

    @property
    def management_token(self) -> str:
        return self._token("management")

    def programs(self) -> list[Program]:
        binary = self.binary()
        assert binary
        configuration, tokens = self.state.path / "consul.json", self.state.path / "consul-acl.json"
        give_tokens = shlex.join([sys.executable, "-m", "launcher.consul_acl", str(tokens)])
        agent = shlex.join([str(binary), "agent", f"-config-file={configuration}"])
        # A child of nobody, as Consul reaps none.
        command = ["/bin/sh", "-c", f"({give_tokens} &) ; exec {agent}"]
        return [Program("consul", command, {"GOGC": "40", "GOMAXPROCS": "1"}, reads=[configuration, tokens])]

    def own_url(self) -> str:
        return f"http://{self.address('consul')}"

    def probe(self, url: str) -> None:
        if self.given:
            probes.consul_leader(url)
        else:
            probes.consul_node(url, NODE, self._token("readers"))

    def credentials(self, program: str) -> dict[str, str]:
        is_sidecar = program.endswith("-sidecar")
        if self.given or program not in (*ROLES, "gateway", "console-web", ""):
            return {}
        # Who calls through a proxy has nothing to ask.
        if self.installation.is_meshed and program and not is_sidecar:
            return {}
        return {"SOUK_CONSUL_TOKEN": self._token(program if is_sidecar else "readers")}

    def proxy_token(self, service: str) -> str:
        return self._token(f"{service}-proxy")

    @property
    def metrics_token(self) -> str:
        """Prometheus's."""
        return self._token("metrics")

    def _token(self, name: str) -> str:
        """Consul's have to be UUIDs."""
        return str(uuid.UUID(bytes=hashlib.sha256(self.secret(f"consul-{name}").encode()).digest()[:16]))

    def binary(self) -> Path | None:
        """Known after `find`."""
        found = shutil.which("consul")
        return Path(found) if found else self._unpacked if self._unpacked.exists() else None

    @property
    def _unpacked(self) -> Path:
        return self.state.path / "bin" / "consul"
