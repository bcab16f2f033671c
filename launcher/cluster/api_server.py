"""An API server and its etcd on loopback, ready in seconds and without root: for manifests, custom resources and operators."""

import secrets
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def api_server(folder: Path, progress: Progress | None = None) -> Iterator[Path]:
    """An administrator's kubeconfig. `folder` keeps the state. Raises LaunchError."""
    built = programs.build(programs.API, progress or Progress())
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    token, port = secrets.token_urlsafe(32), ports.any_free()
    client = ports.any_free({port})
    chosen = {"folder": folder, "port": port, "client": client, "peer": ports.any_free({port, client})}
    url, certificate = f"https://127.0.0.1:{port}", folder / "apiserver.crt"
    (folder / "token.csv").write_text(f"{token},admin,admin,system:masters\n")
    (folder / "kubeconfig").write_text(KUBECONFIG.format(url=url, certificate=certificate, token=token))
    running = {
        folder / f"{name}.log": _start(built / name, flags, folder / f"{name}.log")
        for name, flags in programs.flags(programs.SOURCES / "api-server.yaml", **chosen)
    }
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not _is_ready(url, token, certificate):
            ended = [log for log, process in running.items() if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                raise LaunchError("The API server did not get ready.", last_lines([*ended, *running][0]))
            time.sleep(POLL_SECONDS)
        yield folder / "kubeconfig"
    finally:
        for process in reversed(running.values()):
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _start(binary: Path, flags: list[str], log: Path) -> "subprocess.Popen[bytes]":
    with open(log, "ab") as output:
        return subprocess.Popen([binary, *flags], stdout=output, stderr=output, stdin=subprocess.DEVNULL)


def _is_ready(url: str, token: str, certificate: Path) -> bool:
    request = urllib.request.Request(f"{url}/readyz", headers={"Authorization": f"Bearer {token}"})
    try:
        # The server makes it at its start.
        trusted = ssl.create_default_context(cafile=certificate)
        with urllib.request.urlopen(request, timeout=5, context=trusted):
            return True
    except OSError:
        return False
