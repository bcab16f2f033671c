"""Consul: the machine's own, else Debian's package, unpacked."""

import shutil
from pathlib import Path

from launcher import debian, probes
from launcher.errors import LaunchError
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


class Consul(Server):
    name = "consul"
    title = "Consul"
    variable = "SOUK_CONSUL_URL"
    ports = {"consul": 8500, "consul-server": 8300, "consul-gossip": 8301}  # noqa: RUF012 - a constant of the class
    without = "No Consul: services use fixed addresses."

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
        settings = {
            "server": True,
            "bootstrap_expect": 1,
            "node_name": "souk",
            "datacenter": "souk",
            "data_dir": str(self.state.data / "consul"),
            "bind_addr": "127.0.0.1",
            "client_addr": "127.0.0.1",
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
        }
        self.state.write_json("consul.json", settings)

    def programs(self) -> list[Program]:
        binary = self.binary()
        assert binary
        configuration = self.state.path / "consul.json"
        command = [str(binary), "agent", f"-config-file={configuration}"]
        return [Program("consul", command, {"GOMAXPROCS": "1"}, self.state.data, reads=[configuration])]

    def own_url(self) -> str:
        return f"http://127.0.0.1:{self.port('consul')}"

    def probe(self, url: str) -> None:
        probes.consul_leader(url)

    def binary(self) -> Path | None:
        """Known after `find`."""
        found = shutil.which("consul")
        return Path(found) if found else self._unpacked if self._unpacked.exists() else None

    @property
    def _unpacked(self) -> Path:
        return self.state.path / "bin" / "consul"
