"""Each program's port, kept until something else takes it."""

import random
import socket
from collections.abc import Collection, Mapping

from launcher.errors import LaunchError
from launcher.state import StateFolder

# Below Linux's range for outgoing connections.
FREE_RANGE = range(20_000, 32_000)

_FILE = "ports.json"


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        # Connections in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def recorded(state: StateFolder) -> dict[str, int]:
    """Empty for a broken file: others can be chosen."""
    try:
        found = state.read_json(_FILE)
    except LaunchError:
        return {}
    return {name: port for name, port in found.items() if isinstance(port, int)}


def choose(
    state: StateFolder, preferred: Mapping[str, int], held: Collection[int] = (), standard: bool = True
) -> dict[str, int]:
    """preferred: 0 for none. held: by our own programs. standard: False for random ports."""
    ports_before = recorded(state)
    ports = {name: port for name, port in ports_before.items() if name in preferred and (port in held or is_free(port))}
    for name, port in preferred.items():
        if name not in ports:
            taken = set(ports.values())
            ports[name] = port if standard and port and port not in taken and is_free(port) else any_free(taken)
    if ports != ports_before:
        state.write_json(_FILE, ports)
    return ports


def any_free(taken: Collection[int] = ()) -> int:
    for port in random.sample(FREE_RANGE, k=len(FREE_RANGE)):
        if port not in taken and is_free(port):
            return port
    raise LaunchError(f"No free port between {FREE_RANGE.start} and {FREE_RANGE.stop}: stop some servers first.")
