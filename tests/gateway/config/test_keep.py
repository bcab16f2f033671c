"""What runs beside an edge, and brings it new keys and weights."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import urllib3

from chassis.clients.credentials import digest_of
from operators.keyring import rotation
from tests.gateway.process import ROOT, Process
from tests.gateway.upstream import DEADLINE_SECONDS, Client, Upstream, running
from tests.gateway.waiting import until
from tests.ports import free_port

TOKEN = "an admin token"
NOW = datetime.now(UTC)


def key_file(folder: Path, *jwt_keys: rotation.Key) -> str:
    """Its digest."""
    raw = json.dumps(rotation.file_of("gateway", {"jwt": jwt_keys, "api": {}}, {})).encode()
    new = folder / "keys.new"
    new.write_bytes(raw)
    new.replace(folder / "keys.json")
    return digest_of(raw)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with running(Upstream(ignores_probes=True)) as found:
        yield found


@pytest.fixture
def process(tmp_path: Path, upstream: Upstream) -> Iterator[Process]:
    found = Process(tmp_path, upstream.address)
    found.running.terminate()
    assert found.running.wait(DEADLINE_SECONDS) == 0
    # Each start after this one, by the keeper's file.
    found.environment |= {"SOUK_ADMIN_TOKEN": TOKEN}
    yield found
    found.running.kill()
    found.running.wait()


class Keeper:
    def __init__(self, process: Process, folder: Path) -> None:
        self.port, self.log = free_port(), folder / "keeper"
        environment = {name: value for name, value in process.environment.items() if name != "SOUK_JWT_KEYS"}
        environment |= {"SOUK_KEYS_FILE": str(folder / "keys.json"), "SOUK_PORT": str(self.port)}
        environment |= {"SOUK_WEIGHTS_DIRECTORY": str(folder / "weights")}
        command = [sys.executable, "-m", "services.gateway.config.keep", "kong/kong.yml", str(folder / "kong.yml")]
        with self.log.open("wb") as log:
            self.running = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    def get(self, path: str) -> Any:
        url = f"http://127.0.0.1:{self.port}{path}"
        try:
            return urllib3.request("GET", url, retries=False, timeout=DEADLINE_SECONDS).json()
        except urllib3.exceptions.HTTPError:
            return {}

    def loaded(self) -> Any:
        return self.get("/health/ready").get("keys")

    def weights(self) -> Any:
        return self.get("/health/ready").get("weights")


def credentials(process: Process) -> list[str]:
    """Ids of the keys by which the running edge verifies."""
    url = f"http://127.0.0.1:{process.admin_port}/config"
    headers = {"Kong-Admin-Token": TOKEN}
    text = urllib3.request("GET", url, headers=headers, retries=False, timeout=DEADLINE_SECONDS).json()["config"]
    return sorted(re.findall(r'- key: "(\S+)"', text))


def test_an_edge_gets_new_keys_and_says_when_it_uses_them(tmp_path: Path, process: Process) -> None:
    first, second, third = (rotation.new_jwt_key("EdDSA", NOW) for _ in range(3))
    key_file(tmp_path, first)
    keeper = Keeper(process, tmp_path)
    try:
        until(lambda: keeper.get("/health/live"), keeper.log.read_text)
        # There is no edge yet, but a file for it.
        assert keeper.loaded() is None
        process.start()
        assert credentials(process) == [first["id"]]
        digest = key_file(tmp_path, first, second)
        until(lambda: keeper.loaded() == digest, keeper.log.read_text)
        assert credentials(process) == sorted([first["id"], second["id"]])
        # An edge that is restarted reads the same.
        process.running.kill()
        process.running.wait()
        process.start()
        assert credentials(process) == sorted([first["id"], second["id"]])
        digest = key_file(tmp_path, third)
        until(lambda: keeper.loaded() == digest, keeper.log.read_text)
        assert credentials(process) == [third["id"]]
    finally:
        keeper.running.terminate()
        assert keeper.running.wait(DEADLINE_SECONDS) == 0


def test_an_edge_shares_requests_by_weights_and_says_by_which(
    tmp_path: Path, process: Process, upstream: Upstream
) -> None:
    key_file(tmp_path, rotation.new_jwt_key("EdDSA", NOW))
    file = tmp_path / "weights" / "products.json"
    file.parent.mkdir()
    with running(Upstream(ignores_probes=True)) as canary:
        weights = {upstream.address: 9, canary.address: 1}
        keeper = Keeper(process, tmp_path)
        try:
            until(lambda: keeper.get("/health/live"), keeper.log.read_text)
            process.start()
            until(keeper.loaded, keeper.log.read_text)
            assert keeper.weights() is None
            file.write_text(json.dumps(weights))
            until(lambda: keeper.weights() == {"products": weights}, keeper.log.read_text)
            assert shares(process, upstream, canary) == (90, 10)
            # What cannot be read changes nothing.
            file.write_text("{")
            until(lambda: "configuration not rendered" in keeper.log.read_text(), keeper.log.read_text)
            assert shares(process, upstream, canary) == (90, 10)
            # All at once, and back.
            file.write_text(json.dumps({upstream.address: 0, canary.address: 100}))
            until(lambda: keeper.weights()["products"][canary.address] == 100, keeper.log.read_text)
            assert shares(process, upstream, canary) == (0, 100)
            file.unlink()
            until(lambda: keeper.weights() is None, keeper.log.read_text)
            assert shares(process, upstream, canary) == (100, 0)
        finally:
            keeper.running.terminate()
            assert keeper.running.wait(DEADLINE_SECONDS) == 0


def shares(process: Process, *upstreams: Upstream) -> tuple[int, ...]:
    """Of 100 requests."""
    for each in upstreams:
        each.reset()
    assert {Client(process.port).get("/products/").status for _ in range(100)} == {200}
    return tuple(len(each.seen) for each in upstreams)
