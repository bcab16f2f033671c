"""Starts containers in Docker, or in what DOCKER_HOST names, and keeps their logs."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker.errors
from docker.models.containers import Container as Started
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient

from launcher.containers.plan import VARIABLES, Container
from launcher.errors import Cancelled, LaunchError
from launcher.logs import last_lines
from launcher.progress import Progress
from launcher.stack import Stack

READY_SECONDS = 120.0
"""The first start of a new container, on a busy machine."""


def expect_engine() -> None:
    """Raises LaunchError without one."""
    try:
        DockerClient().client.ping()
    except docker.errors.DockerException as error:
        raise LaunchError(
            f"No container engine responds ({_reason(error)}): start Docker, or name another's socket in DOCKER_HOST. "
            "./souk test without --servers needs none."
        ) from error


class Engine:
    def __init__(self, stack: Stack, progress: Progress) -> None:
        self._stack, self._progress = stack, progress
        self._installation = stack.installation
        self._hosts = self._installation.hosts = dict(self._installation.hosts)
        self._starting = threading.Lock()
        self._started: list[DockerContainer] = []

    def serve(self, container: Container) -> None:
        """Until the installation's server of that name is ready."""
        server = self._stack.servers[container.name]
        self.run(container, server.title, lambda: server.probe(server.own_url()))

    def run(self, container: Container, title: str, probe: Callable[[], None]) -> None:
        with self._progress.step(f"{title} ({container.image})"):
            running = self._start(container, title)
            if container.port:
                self._hosts[container.name] = running.get_container_host_ip()
                self._installation.ports[container.name] = running.get_exposed_port(container.port)
            self._wait(container.name, title, running, probe)

    def take_consul(self, image: str, target: Path) -> None:
        """Tests kill and wipe their Consul, so its program leaves its image. It needs no library."""
        with self._progress.step(f"Consul's program ({image})"):
            running = self._start(Container("consul", image, ["sleep", "3600"]), "Consul")
            target.parent.mkdir()
            place = running.exec(["sh", "-c", "command -v consul"]).output.decode().strip()
            running.copy_from_container(place, target)
            target.chmod(0o755)

    def stop(self) -> None:
        with ThreadPoolExecutor() as stopping:
            list(stopping.map(DockerContainer.stop, self._started))

    def _start(self, container: Container, title: str) -> DockerContainer:
        try:
            running = _described(container)
            _ensure_image(running.get_docker_client(), container)
            # The reaper, one for all, is not made for threads.
            with self._starting:
                if self._installation.cancelled.is_set():
                    raise Cancelled(container.name)
                self._started.append(running)
                running.start()
        except docker.errors.DockerException as error:
            raise LaunchError(f"{title}'s container did not start: {_reason(error)}") from error
        log = running.get_wrapped_container()
        threading.Thread(target=self._keep_log, args=(container.name, log), daemon=True).start()
        return running

    def _log(self, name: str) -> Path:
        return self._stack.state.logs / f"{name}.log"

    def _keep_log(self, name: str, started: Started) -> None:
        """Until it ends. Tests look for secrets there."""
        with suppress(Exception), self._log(name).open("ab", buffering=0) as log:
            for line in started.logs(stream=True, follow=True):
                log.write(line)

    def _wait(self, name: str, title: str, running: DockerContainer, probe: Callable[[], None]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                return probe()
            except Exception as error:  # each server's library has its own errors
                reason = _reason(error)
            running.reload()
            if running.status == "exited":
                raise LaunchError(
                    f"{title}'s container exited at start; its last log lines:", last_lines(self._log(name))
                )
            if time.monotonic() > deadline:
                message = f"{title} was not ready after {READY_SECONDS:.0f} s ({reason[:200]}); its last log lines:"
                raise LaunchError(message, last_lines(self._log(name)))
            if self._installation.cancelled.wait(0.1):
                raise Cancelled(name)


# --- inside


def _described(container: Container) -> DockerContainer:
    options: dict[str, Any] = {
        **({"entrypoint": list(container.command)} if container.command else {}),
        **({"user": container.user} if container.user else {}),
        **({"network_mode": "host"} if container.shares_network else {}),
    }
    found = DockerContainer(container.image, env=dict(container.environment)).with_kwargs(**options)
    if container.port:
        found.with_exposed_ports(container.port).with_tmpfs_mount("/data", "mode=1777")
    for path, content in container.files.items():
        found.with_copy_into_container(content.encode(), path)
    return found


def _ensure_image(engine: DockerClient, container: Container) -> None:
    try:
        engine.client.images.get(container.image)
    except docker.errors.ImageNotFound:
        try:
            engine.client.images.pull(container.image)
        except docker.errors.DockerException as error:
            raise LaunchError(
                f"The image {container.image} cannot be pulled ({_reason(error)}): name another in "
                f"{VARIABLES[container.name]}, or make images of Debian's packages with --servers=debian."
            ) from error


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())
