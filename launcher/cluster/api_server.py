"""An API server and its etcd on loopback, ready in seconds and without root: for manifests, custom resources and operators."""

import secrets
import ssl
import subprocess
import time
import urllib.request
from pathlib import Path

from launcher import ports
from launcher.cluster import programs
from launcher.errors import LaunchError
from launcher.logs import last_lines
from launcher.progress import Progress

READY_SECONDS = 120
POLL_SECONDS = 0.1
STOP_SECONDS = 10

KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{{name: souk, cluster: {{server: "{url}", certificate-authority: {certificate}}}}}]
users: [{{name: admin, user: {{token: {token}}}}}]
contexts: [{{name: souk, context: {{cluster: souk, user: admin}}}}]
current-context: souk
"""


class APIServer:
    def __init__(self, folder: Path, progress: Progress | None = None) -> None:
        """`folder` keeps its state. Raises LaunchError when it cannot be built."""
        self.folder = folder
        self.programs = programs.build(programs.API, progress or Progress())
        self.token, port, client, peer = secrets.token_urlsafe(32), *_free_ports()
        self.url, self.certificate = f"https://127.0.0.1:{port}", folder / "apiserver.crt"
        self.kubeconfig = folder / "kubeconfig"
        self._flags = programs.flags(
            programs.SOURCES / "api-server.yaml", folder=folder, port=port, client=client, peer=peer
        )
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "token.csv").write_text(f"{self.token},admin,admin,system:masters\n")
        self.kubeconfig.write_text(KUBECONFIG.format(url=self.url, certificate=self.certificate, token=self.token))

    def start(self) -> None:
        """Also what was killed of it. It ends with the thread that calls this. Raises LaunchError."""
        for name, flags in self._flags.items():
            if name not in self._running:
                with open(self.folder / f"{name}.log", "ab") as output:
                    command = ["setpriv", "--pdeathsig=KILL", str(self.programs / name), *flags]
                    self._running[name] = subprocess.Popen(command, stdout=output, stderr=output)
        deadline = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            ended = [name for name, process in self._running.items() if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                log = self.folder / f"{[*ended, 'kube-apiserver'][0]}.log"
                raise LaunchError(f"The API server did not get ready: see {log}.", last_lines(log))
            time.sleep(POLL_SECONDS)

    def kill(self, name: str) -> None:
        """etcd or kube-apiserver."""
        process = self._running.pop(name)
        process.kill()
        process.wait(STOP_SECONDS)

    def stop(self) -> None:
        """Its state, which nobody reads again, stays as it is."""
        for name in reversed(list(self._running)):
            self.kill(name)

    def _is_ready(self) -> bool:
        request = urllib.request.Request(f"{self.url}/readyz", headers={"Authorization": f"Bearer {self.token}"})
        try:
            # The server makes the certificate at its start.
            trusted = ssl.create_default_context(cafile=self.certificate)
            with urllib.request.urlopen(request, timeout=5, context=trusted):
                return True
        except OSError:
            return False


def _free_ports() -> tuple[int, int, int]:
    first = ports.any_free()
    second = ports.any_free({first})
    return first, second, ports.any_free({first, second})
