"""A real Consul for a test, which can stop, wipe and restart it on the same port, with TLS and ACLs."""

import json
import shutil
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.installation import Installation
from launcher.progress import Progress
from launcher.servers.consul import Consul
from tests.ports import free_port

DEADLINE_SECONDS = 30.0


class ConsulServer:
    def __init__(self, binary: Path, folder: Path, **more: Any) -> None:
        """`more`: settings that extend or replace those of a single server."""
        self.port, self.folder = free_port(), folder
        self.url, self.context = f"http://127.0.0.1:{self.port}", None
        self.headers: dict[str, str] = {}
        ports = {"http": self.port, "server": free_port(), "serf_lan": free_port()}
        self._settings = {
            "server": True,
            "bootstrap_expect": 1,
            "node_name": "test",
            "datacenter": "test",
            "bind_addr": "127.0.0.1",
            "client_addr": "127.0.0.1",
            "ports": {**ports, **dict.fromkeys(("dns", "grpc", "https", "serf_wan"), -1)},
            "performance": {"raft_multiplier": 1},
            "disable_update_check": True,
            "log_level": "ERR",
            "data_dir": str(folder / "data"),
            **more,
        }
        self._command = [str(binary), "agent", f"-config-file={folder / 'consul.json'}"]
        self._process: subprocess.Popen[bytes] | None = None

    context: ssl.SSLContext | None

    def start(self) -> None:
        """Returns once it has a leader. Does nothing while it runs."""
        if self._process is not None:
            return
        (self.folder / "consul.json").write_text(json.dumps(self._settings))
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        self.until(lambda: self.request("/v1/status/leader"))

    def kill(self, wipe: bool = False) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(DEADLINE_SECONDS)
            self._process = None
        if wipe:
            shutil.rmtree(self.folder / "data", ignore_errors=True)

    def request(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """The JSON response; None without one, or if the status is an error."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, self.headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=5, context=self.context) as response:
                text = response.read()
                return json.loads(text) if text else True
        except (OSError, urllib.error.HTTPError):
            return None

    def healthy(self, service: str) -> list[str]:
        """Ids of the instances whose checks all pass."""
        return sorted(each["Service"]["ID"] for each in self.request(f"/v1/health/service/{service}?passing=1") or [])

    def status(self, id_: str) -> str:
        """The worst status of the checks of an entry; "" without an entry."""
        url = f"{self.url}/v1/agent/health/service/id/{id_}?format=text"
        try:
            with urllib.request.urlopen(url, timeout=5, context=self.context) as response:
                return str(response.read().decode())
        except urllib.error.HTTPError as error:
            return "" if error.code == 404 else error.read().decode()

    def register(self, service: str, id_: str, port: int, status: str = "passing", **more: Any) -> None:
        check = {"CheckID": id_, "TTL": "10m", "Status": status}
        entry = {"ID": id_, "Name": service, "Address": "127.0.0.1", "Port": port, "Check": check, **more}
        assert self.request("/v1/agent/service/register", "PUT", entry)

    @staticmethod
    def until(condition: Any, seconds: float = DEADLINE_SECONDS) -> Any:
        """Wait for `condition` to be true, and return its result."""
        deadline, pause = time.monotonic() + seconds, threading.Event()
        while not (found := condition()):
            assert time.monotonic() < deadline, f"not true after {seconds} s"
            pause.wait(0.05)
        return found


@pytest.fixture(scope="session")
def consul_binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    installation = Installation.at(tmp_path_factory.mktemp("consul-program"), Progress())
    installation.state.make()
    server = Consul(installation)
    if not server.find():
        pytest.skip("Consul is not installed and cannot be downloaded.")
    binary = server.binary()
    assert binary is not None
    return binary


@pytest.fixture(scope="session")
def _shared_consul(consul_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsulServer]:
    server = ConsulServer(consul_binary, tmp_path_factory.mktemp("consul"))
    yield server
    server.kill()


@pytest.fixture
def consul(_shared_consul: ConsulServer) -> ConsulServer:
    """A Consul with an empty catalogue, which a test may kill and wipe."""
    if _shared_consul.request("/v1/status/leader") is None:
        _shared_consul.kill(wipe=True)
        _shared_consul.start()
    for id_ in _shared_consul.request("/v1/agent/services"):
        _shared_consul.request(f"/v1/agent/service/deregister/{id_}", "PUT")
    return _shared_consul
