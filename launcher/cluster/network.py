"""The wire between nodes: a bridge in a network namespace of its own, which this machine joins.

On it this machine is .1 and node N .1N. Pods of node N have 10.X.N.0/24, services 10.X.100.0/24. Nothing else of the machine's
network changes.
"""

import ipaddress
import json
import os
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import LaunchError

SECOND_BYTES = range(64, 128)
MAX_NODES = 9
NAMESPACES = Path("/run/netns")


@dataclass(frozen=True)
class Network:
    byte: int
    """The second of its addresses."""

    owner: str
    """Its cluster's id, which this machine's device carries: after a reboot, another clone may have the same network.

    Empty for clusters that older versions made.
    """

    @property
    def name(self) -> str:
        """Of the bridge's namespace, and of this machine's device on it."""
        return f"souk{self.byte}"

    @property
    def prefix(self) -> str:
        return f"10.{self.byte}"

    def address(self, node: int) -> str:
        return f"{self.prefix}.0.1{node}"

    def namespace(self, node: int) -> str:
        return f"{self.name}-n{node}"

    @property
    def current_owner(self) -> str | None:
        """None if this network is not there."""
        listed = run(f"ip -j link show dev {self.name}", check=False)
        return None if listed.returncode else str(json.loads(listed.stdout)[0].get("ifalias", ""))

    def ensure(self) -> None:
        """After a reboot it is made anew. Raises LaunchError if others use its addresses by now."""
        if self.current_owner == self.owner:
            return
        if users := _users(self.addresses):
            raise LaunchError(
                f"This cluster's addresses, {self.addresses}, are in use by now ({users[0]}): ./souk cluster down --wipe, then up."
            )
        run(f"ip netns add {self.name}")
        _make(self)

    @property
    def addresses(self) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network(f"{self.prefix}.0.0/16")

    def join(self, node: int) -> None:
        inside = f"ip -n {self.namespace(node)}"
        run(f"ip netns add {self.namespace(node)}")
        run(f"ip -n {self.name} link add to-n{node} type veth peer name eth0 netns {self.namespace(node)}")
        run(f"ip -n {self.name} link set to-n{node} master lan up")
        run(f"{inside} link set lo up")
        run(f"{inside} addr add {self.address(node)}/24 dev eth0")
        run(f"{inside} link set eth0 up")
        # There is no way out of the cluster.
        run(f"{inside} route add {self.prefix}.100.0/24 dev eth0")
        for other in set(range(1, MAX_NODES + 1)) - {node}:
            run(f"{inside} route add {self.prefix}.{other}.0/24 via {self.address(other)}")
        run(f"ip route replace {self.prefix}.{node}.0/24 via {self.address(node)}")

    def leave(self, node: int) -> None:
        run(f"ip netns del {self.namespace(node)}", check=False)
        run(f"ip -n {self.name} link del to-n{node}", check=False)

    def remove(self) -> None:
        """Nothing of another cluster."""
        if self.current_owner != self.owner:
            return
        run(f"ip link del {self.name}", check=False)
        run(f"ip netns del {self.name}", check=False)
        if NAMESPACES.exists() and not any(NAMESPACES.iterdir()):
            # As before the first of all namespaces.
            run(f"umount {NAMESPACES}", check=False)
            with suppress(OSError):
                NAMESPACES.rmdir()


def claim(owner: str) -> Network:
    """A network whose addresses nothing here uses. Raises LaunchError."""
    for network in (Network(byte, owner) for byte in SECOND_BYTES):
        # Of two clusters that start at once, one makes the namespace.
        if not _users(network.addresses) and not run(f"ip netns add {network.name}", check=False).returncode:
            _make(network)
            return network
    users = sorted({user for byte in SECOND_BYTES for user in _users(Network(byte, owner).addresses)})
    raise LaunchError(
        "Every network from 10.64.0.0 to 10.127.0.0 is in use: stop other clusters, or the VPN that has them.",
        [f"Route: {user}" for user in users[:5]],
    )


def run(line: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    """Raises LaunchError."""
    outcome = subprocess.run(line.split(), capture_output=True, text=True, check=False)
    if check and outcome.returncode:
        raise LaunchError(f"`{line}` failed ({outcome.stderr.strip()}): a cluster needs root and Linux's namespaces.")
    return outcome


def _users(addresses: ipaddress.IPv4Network) -> list[str]:
    """Routes into these addresses, of all tables: a VPN's may be wider, and in one of its own."""
    listed = json.loads(run("ip -4 -j route show table all").stdout)
    destinations = [route["dst"] for route in listed if route["dst"] not in ("default", "0.0.0.0/0")]
    return [each for each in destinations if addresses.overlaps(ipaddress.IPv4Network(each, strict=False))]


def _make(network: Network) -> None:
    run(f"ip -n {network.name} link add lan type bridge")
    run(f"ip -n {network.name} link set lan up")
    # Absent without br_netfilter.
    run(f"ip netns exec {network.name} sysctl -qw net.bridge.bridge-nf-call-iptables=0", check=False)
    run(f"ip -n {network.name} link add to-host type veth peer name {network.name} netns {os.getpid()}")
    run(f"ip -n {network.name} link set to-host master lan up")
    if network.owner:
        run(f"ip link set {network.name} alias {network.owner}")
    run(f"ip addr add {network.prefix}.0.1/24 dev {network.name}")
    run(f"ip link set {network.name} up")
    # Services are reached from this machine through the first node.
    run(f"ip route add {network.prefix}.100.0/24 via {network.address(1)}")
