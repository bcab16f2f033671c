"""Which addresses a cluster takes, in network and mount namespaces of the test's own."""

import subprocess
import sys
from pathlib import Path

import pytest

from launcher.state import REPOSITORY


@pytest.fixture(autouse=True)
def _may_make_networks() -> None:
    tried = "exec unshare --net --mount ip link add souk type bridge"
    if subprocess.run(["sh", "-c", tried], capture_output=True, check=False).returncode:
        pytest.skip("NOT TESTED: a cluster's networks need root, iproute2 and Linux's namespaces")


PREPARED = """
import json, pathlib, subprocess, sys
from launcher.cluster import network
from launcher.cluster.cluster import FILE, Cluster
from launcher.errors import LaunchError

network.run("mount --make-rprivate /")
network.run("mount -t tmpfs run /run")
network.run("ip link set lo up")
network.run("ip link add vpn type bridge")
network.run("ip link set vpn up")

def devices():
    return {link["ifname"] for link in json.loads(network.run("ip -j link").stdout)}
"""


def alone(script: str, *arguments: str) -> str:
    """What it printed."""
    command = ["unshare", "--net", "--mount", sys.executable, "-c", PREPARED + script, *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("table", ["", "table 51820"])
def test_a_wider_route_counts(table: str) -> None:
    script = """
network.run(f"ip route add 10.64.0.0/12 dev vpn {sys.argv[1]}")
network.run("ip route add default dev vpn")
print(network.claim("mine").byte)
"""
    assert alone(script, table) == "80"


def test_where_every_address_is_used_the_route_is_named() -> None:
    script = """
network.run("ip route add 10.0.0.0/8 dev vpn")
try:
    network.claim("mine")
except LaunchError as error:
    print(error, *error.last_lines)
print(devices())
"""
    printed = alone(script)
    assert "the VPN that has them. Route: 10.0.0.0/8" in printed
    assert "souk" not in printed


def test_down_leaves_the_network_that_another_clone_has_after_a_reboot(tmp_path: Path) -> None:
    script = """
folder = pathlib.Path(sys.argv[1])
theirs = network.claim("theirs")
(folder / FILE).write_text(json.dumps({"network": theirs.byte, "owner": "mine", "programs": "/nowhere"}))
(folder / "n1").mkdir()
Cluster(folder).down()
assert theirs.name in devices()
assert not (folder / FILE).exists()
network.Network(theirs.byte, "mine").remove()
assert theirs.name in devices()
theirs.remove()
assert theirs.name not in devices()
"""
    alone(script, str(tmp_path))


def test_an_older_versions_network_has_no_owner_and_is_made_anew_after_a_reboot(tmp_path: Path) -> None:
    script = """
folder = pathlib.Path(sys.argv[1])
(folder / FILE).write_text(json.dumps({"network": network.claim("").byte, "programs": "/nowhere"}))
cluster = Cluster(folder)
name = cluster.network.name
cluster.network.remove()
assert name not in devices()
cluster.network.ensure()
assert name in devices()
cluster.network.ensure()
cluster.down()
assert name not in devices()
"""
    alone(script, str(tmp_path))


def test_a_network_is_made_anew_after_a_reboot_unless_others_use_its_addresses() -> None:
    script = """
mine = network.claim("mine")
mine.remove()
mine.ensure()
assert mine.current_owner == "mine"
mine.ensure()
mine.remove()
theirs = network.claim("theirs")
assert theirs.byte == mine.byte
try:
    mine.ensure()
except LaunchError as error:
    print(error)
assert theirs.current_owner == "theirs"
"""
    assert "down --wipe, then up" in alone(script)
