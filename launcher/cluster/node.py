"""A node: namespaces held by one process (see inside.py). When that process ends, the node and all its pods are gone."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from launcher.cluster import cgroups
from launcher.cluster.network import Network
from launcher.errors import LaunchError
from launcher.state import REPOSITORY

LOAD_SECONDS = 600


class Node:
    def __init__(self, number: int, folder: Path, network: Network, programs: Path) -> None:
        self.number, self.name = number, f"n{number}"
        self.home = folder / self.name
        self.log = self.home / "node.log"
        self._folder, self._network, self._programs = folder, network, programs
        self._file = self.home / "node.json"

    def start(self) -> None:
        """Also after it was killed."""
        if self.is_running():
            return
        self.stop()
        for name in ("lib/kubelet", "lib/containerd", "lib/cni/net.d", "lib/etcd", "lib/images", "log"):
            (self.home / name).mkdir(parents=True, exist_ok=True)
        namespace = self._network.namespace(self.number)
        groups = cgroups.make(namespace)
        about: dict[str, Any] = {
            "number": self.number,
            "network": self._network.byte,
            "owner": self._network.owner,
            "folder": str(self._folder),
            "programs": str(self._programs),
            "groups": [str(group) for group in groups],
        }
        self._file.write_text(json.dumps(about))
        self._network.join(self.number)
        unshared = ["unshare", "--mount", "--uts", "--pid", "--cgroup", "--ipc", "--fork", "--kill-child"]
        with open(self.log, "ab") as log:
            process = subprocess.Popen(
                [
                    "nsenter",
                    f"--net=/run/netns/{namespace}",
                    *unshared,
                    sys.executable,
                    "-m",
                    "launcher.cluster.inside",
                    self._file,
                ],
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: cgroups.enter(groups, os.getpid()),
            )
        started = psutil.Process(process.pid).create_time()
        self._file.write_text(json.dumps({**about, "pid": process.pid, "started": started}))

    def stop(self) -> None:
        """As if its power failed."""
        if holder := self._process():
            with suppress(psutil.Error):
                # Which reaps it, and ends.
                (holder.children() or [holder])[0].kill()
                holder.wait(cgroups.REMOVAL_SECONDS)
        self._network.leave(self.number)
        cgroups.remove([Path(group) for group in self._recorded().get("groups", ())])

    def is_running(self) -> bool:
        return self._process() is not None

    def processes(self) -> list[psutil.Process]:
        """All in the node, its first process first."""
        holder = self._process()
        return holder.children(recursive=True) if holder else []

    def load(self, archive: Path) -> None:
        """Raises LaunchError."""
        processes = self.processes()
        if not processes:
            raise LaunchError(f"Node {self.name} does not run: ./souk cluster up")
        inside = ["nsenter", f"--target={processes[0].pid}", "--mount"]
        command = [*inside, "ctr", "-n", "k8s.io", "images", "import", str(archive.absolute())]
        outcome = subprocess.run(command, capture_output=True, text=True, timeout=LOAD_SECONDS, check=False)
        if outcome.returncode:
            raise LaunchError(f"{archive} could not be loaded into {self.name}.", outcome.stderr.splitlines()[-3:])

    def _process(self) -> psutil.Process | None:
        """The one that holds it, and no other that has its number by now."""
        recorded = self._recorded()
        with suppress(psutil.NoSuchProcess, KeyError):
            process = psutil.Process(recorded["pid"])
            if process.create_time() == recorded["started"] and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None

    def _recorded(self) -> dict[str, Any]:
        recorded: dict[str, Any] = json.loads(self._file.read_text()) if self._file.exists() else {}
        return recorded
