"""A node's cgroup, below ours in every hierarchy of cgroup v1."""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from launcher.errors import LaunchError

ROOT = Path("/sys/fs/cgroup")
REMOVAL_SECONDS = 10
CPU_SHARES = 4096
"""Of a node with all its pods, where any other busy process of the machine has 1024."""


def hierarchies() -> dict[str, str]:
    """{controllers: our path in them}, "" for the unified hierarchy. Raises LaunchError with cgroup v2 alone."""
    lines = (line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines())
    found = {controllers: path for _, controllers, path in lines}
    if len(found) == 1:
        raise LaunchError(
            "Nodes need cgroup v1, and this machine has v2 only: start a kind cluster, or set KUBECONFIG."
        )
    return found


def folder(controllers: str) -> Path:
    return ROOT / (controllers.removeprefix("name=") or "unified")


def make(name: str) -> list[Path]:
    groups = [Path(f"{folder(controllers)}{path}", name) for controllers, path in hierarchies().items()]
    for group in groups:
        group.mkdir(exist_ok=True)
        for file in ("cpuset.cpus", "cpuset.mems"):
            if (group / file).exists():
                (group / file).write_text((group.parent / file).read_text())
        if (group / "cpu.shares").exists():
            (group / "cpu.shares").write_text(str(CPU_SHARES))
    return groups


def enter(groups: Sequence[Path], pid: int) -> None:
    for group in groups:
        (group / "cgroup.procs").write_text(str(pid))


def remove(groups: Sequence[Path]) -> None:
    """As soon as their processes have ended."""
    deadline = time.monotonic() + REMOVAL_SECONDS
    while any(group.exists() for group in groups) and time.monotonic() < deadline:
        for path in (path for group in groups for path in (*sorted(group.rglob("*/"), reverse=True), group)):
            with suppress(OSError):
                path.rmdir()
        time.sleep(0.05)
