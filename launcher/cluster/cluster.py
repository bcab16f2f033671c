"""A Kubernetes of one or more nodes on this machine."""

import json
import shutil
import string
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from launcher.cluster import network, programs
from launcher.cluster.kubectl import Kubectl
from launcher.cluster.network import MAX_NODES, Network
from launcher.cluster.node import Node
from launcher.errors import LaunchError
from launcher.logs import last_lines
from launcher.progress import Progress

READY_SECONDS = 180
POLL_SECONDS = 0.2
FILE = "cluster.json"


class Cluster:
    def __init__(self, folder: Path, progress: Progress | None = None) -> None:
        self.folder = folder.absolute()
        self.progress = progress or Progress()
        self.kubeconfig = self.folder / "admin.conf"
        self._file = self.folder / FILE

    def up(self, nodes: int = 1) -> None:
        """Add what is missing, and wait until all nodes are ready. Raises LaunchError."""
        if not 1 <= nodes <= MAX_NODES:
            raise LaunchError(f"A cluster has 1 to {MAX_NODES} nodes.")
        programs.install_debian_packages(self.progress)
        built = programs.build(programs.NODE, self.progress)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._file.exists():
            owner = uuid4().hex
            chosen = {"network": network.claim(owner).byte, "owner": owner, "programs": str(built)}
            self._file.write_text(json.dumps(chosen))
        self.network.ensure()
        with self.progress.step(f"Kubernetes {programs.version()}, {nodes} {'node' if nodes == 1 else 'nodes'}"):
            for number in range(1, nodes + 1):
                self._make_certificates(number)
                self.node(number).start()
            self._until(lambda: self.kubectl.attempt("get", "--raw", "/readyz"), "The API server is not ready")
            self.apply((programs.SOURCES / "addons.yaml").read_text())
            self._until(lambda: len(self.ready_nodes()) >= nodes, "Not all nodes are ready")

    def down(self, wipe: bool = False) -> None:
        """Without harm to another clone's cluster, which may have this one's network after a reboot."""
        if self._file.exists():
            if self.network.current_owner == self.network.owner:
                for node in self.nodes():
                    node.stop()
                self.network.remove()
            self._file.unlink()
        if wipe:
            shutil.rmtree(self.folder, ignore_errors=True)

    def load(self, image: str) -> None:
        """An archive, or the name of one of Docker's images. Raises LaunchError."""
        nodes = self.nodes()
        with tempfile.NamedTemporaryFile(suffix=".tar") as saved:
            archive = Path(image)
            if not archive.is_file():
                archive = Path(saved.name)
                save = ["docker", "save", image, "-o", str(archive)]
                if not shutil.which("docker") or subprocess.run(save, capture_output=True, check=False).returncode:
                    raise LaunchError(f"{image} is neither an archive nor one of Docker's images.")
            for node in nodes:
                node.load(archive)

    def node(self, number: int) -> Node:
        return Node(number, self.folder, self.network, self._programs)

    def nodes(self) -> list[Node]:
        """Raises LaunchError unless the cluster is up."""
        network, programs = self.network, self._programs
        homes = sorted(self.folder.glob("n[1-9]"))
        return [Node(int(home.name[1:]), self.folder, network, programs) for home in homes]

    @property
    def is_up(self) -> bool:
        return (self.folder / FILE).exists() and bool(self.ready_nodes())

    def ready_nodes(self) -> list[str]:
        query = '{range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status} {end}'
        listed = self.kubectl.attempt("get", "nodes", "-o", f"jsonpath={query}").split()
        return [each.removesuffix("=True") for each in listed if each.endswith("=True")]

    @property
    def network(self) -> Network:
        """Raises LaunchError unless the cluster is up."""
        return Network(self._recorded["network"], self._recorded.get("owner", ""))

    @property
    def kubectl(self) -> Kubectl:
        return Kubectl(self._programs / "kubectl", self.kubeconfig)

    def apply(self, manifests: str) -> None:
        self.kubectl("apply", "-f", "-", given=self._fill(manifests))

    # --- inside

    @property
    def _programs(self) -> Path:
        return Path(self._recorded["programs"])

    @property
    def _recorded(self) -> dict[str, Any]:
        if not self._file.exists():
            raise LaunchError("No cluster runs here: ./souk cluster up")
        recorded: dict[str, Any] = json.loads(self._file.read_text())
        return recorded

    def _make_certificates(self, node: int) -> None:
        """The cluster's once, and the node's."""
        home = self.folder / f"n{node}"
        if (home / "kubelet.conf").exists():
            return
        home.mkdir(exist_ok=True)
        configuration = home / "kubeadm.yaml"
        configuration.write_text(self._fill((programs.SOURCES / "kubeadm.yaml").read_text(), node=f"n{node}"))
        if node == 1:
            shutil.rmtree(self.folder / "pki", ignore_errors=True)
            self._kubeadm("init", "phase", "certs", "all", "--config", configuration)
            self._kubeadm(
                "init", "phase", "kubeconfig", "all", "--config", configuration, "--kubeconfig-dir", self.folder
            )
            proxy = self._kubeadm("kubeconfig", "user", "--client-name", "system:kube-proxy", "--config", configuration)
            (self.folder / "proxy.conf").write_text(proxy)
            (self.folder / "super-admin.conf").replace(self.kubeconfig)
        self._kubeadm("init", "phase", "kubeconfig", "kubelet", "--config", configuration, "--kubeconfig-dir", home)

    def _kubeadm(self, *arguments: str | Path) -> str:
        command = [self._programs / "kubeadm", *arguments]
        outcome = subprocess.run(command, capture_output=True, text=True, check=False)
        if outcome.returncode:
            raise LaunchError(f"kubeadm {' '.join(map(str, arguments))} failed.", outcome.stderr.splitlines()[-5:])
        return outcome.stdout

    def _fill(self, template: str, **more: str) -> str:
        values = {"network": self.network.prefix, "folder": str(self.folder), "version": programs.version()}
        return string.Template(template).safe_substitute(values, **more)

    def _until(self, condition: Callable[[], object], otherwise: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not condition():
            stopped = [node for node in self.nodes() if not node.is_running()]
            if stopped or time.monotonic() > deadline:
                ready = self.ready_nodes()
                log = min(self.nodes(), key=lambda node: (node.is_running(), node.name in ready)).log
                raise LaunchError(f"{otherwise}: see {log.parent}/log.", last_lines(log))
            time.sleep(POLL_SECONDS)
