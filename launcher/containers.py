"""The temporary servers of `./souk test --servers=containers`: those of compose.yaml, started by testcontainers.

`--servers=debian` needs no registry: its image is the one of our own cluster, where SecantusDB stands in for MongoDB; there is no Kong.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker.errors
import yaml
from docker.models.containers import Container as Started
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient

from launcher import kong, ports, probes
from launcher.errors import Cancelled, LaunchError
from launcher.kubernetes import images, place, secrets
from launcher.kubernetes.chart import CHART
from launcher.logs import last_lines
from launcher.progress import Progress
from launcher.stack import Stack
from launcher.temporary import SERVERS, Where
from launcher.together import Together

VARIABLES = {name: f"SOUK_TEST_{name.upper()}_IMAGE" for name in (*SERVERS, "consul", "kong")}
"""Each names another image."""

READY_SECONDS = 120.0
"""The first start of a new container, on a busy machine."""


@dataclass(frozen=True)
class Container:
    name: str
    image: str
    command: Sequence[str] = ()
    """In place of the image's own; empty for that."""

    user: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    """Content by path."""

    port: int = 0
    shares_network: bool = False
    """With this machine."""


@contextmanager
def running(
    folder: Path, where: Where, progress: Progress, environment: Mapping[str, str] = os.environ
) -> Iterator[tuple[Stack, dict[str, str]]]:
    """Yields an installation whose servers are containers, and what else tests are told. Raises LaunchError."""
    expect_engine()
    stack = place.stack(folder / "state", {})
    chosen = {name: image for name, variable in VARIABLES.items() if (image := environment.get(variable, ""))}
    edge = _Edge(chosen.get("kong", _chart("values")["kong"]["image"] if where is Where.CONTAINERS else ""))
    engine = _Engine(stack, progress)
    try:
        with progress.shown():
            servers = described(_made_here(folder, stack, progress) if where is Where.DEBIAN else "", chosen)
            together = Together(stack.installation.cancelled)
            for container in planned(stack, servers):
                together.start(engine.serve, container)
            together.start(engine.take_consul, servers["consul"]["image"], folder / "bin" / "consul")
            if edge.image:
                together.start(engine.run, edge.container(), "Kong", edge.probe)
            else:
                note = f"NOTE: the golden cases are not run against Kong: name its image in {VARIABLES['kong']}."
                progress.report(note)
            together.finish()
        path = f"{folder / 'bin'}{os.pathsep}{environment['PATH']}"
        yield stack, {"SOUK_TEST_SERVERS": where.value, "PATH": path, **(edge.urls if edge.image else {})}
    finally:
        engine.stop()


def expect_engine() -> None:
    """Raises LaunchError without one."""
    try:
        DockerClient().client.ping()
    except docker.errors.DockerException as error:
        raise LaunchError(
            f"No container engine responds ({_reason(error)}): start Docker, or name another's socket in DOCKER_HOST. "
            "./souk test without --servers needs none."
        ) from error


def described(made: str = "", chosen: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """The chart's servers, by name. made: an image for all. chosen: images by server."""
    found: dict[str, dict[str, Any]] = {}
    for file in ("values/kind", *(["values/cluster"] if made else [])):
        for name, server in _chart(file)["servers"].items():
            found[name] = found.get(name, {}) | server
    named = {name: image for name in found if (image := (chosen or {}).get(name) or made)}
    return {name: server | ({"image": named[name]} if name in named else {}) for name, server in found.items()}


def planned(stack: Stack, servers: Mapping[str, Mapping[str, Any]]) -> Iterator[Container]:
    """As compose.yaml starts them, with secrets of their own."""
    stack.services.keys.ensure()
    contents = secrets.contents(stack)
    for name in SERVERS:
        server, content = servers[name], contents[name]
        secret = {key: value for key, value in content.items() if key.isupper()}
        folders = [str(secrets.FOLDER), *([server["initScripts"]] if "initScripts" in server else [])]
        yield Container(
            name,
            server["image"],
            server["command"],
            str(server["user"]),
            {"POD_IP": "0.0.0.0", **server.get("environment", {}), **secret},  # noqa: S104 - a container's
            {f"{each}/{key}": value for each in folders for key, value in content.items() if key not in secret},
            server["ports"][name],
        )


# --- inside


class _Edge:
    """A Kong that the golden cases configure. It shares this machine's network, as it calls upstreams of the tests."""

    def __init__(self, image: str) -> None:
        self.image = image
        listen = ports.any_free()
        self._listen, self._admin = f"127.0.0.1:{listen}", f"127.0.0.1:{ports.any_free([listen])}"

    def container(self) -> Container:
        environment = kong.environment(Path(), self._listen, dns="", trusted_ips="")
        del environment["KONG_DECLARATIVE_CONFIG"]
        environment |= {"KONG_ADMIN_LISTEN": self._admin, "KONG_STATUS_LISTEN": "off"}
        # Each worker would count failures by itself until the others hear of them.
        environment["KONG_NGINX_WORKER_PROCESSES"] = "1"
        return Container("kong", self.image, environment=environment, shares_network=True)

    @property
    def urls(self) -> dict[str, str]:
        return {"SOUK_TEST_KONG_URL": f"http://{self._listen}", "SOUK_TEST_KONG_ADMIN_URL": f"http://{self._admin}"}

    def probe(self) -> None:
        probes.http(f"http://{self._admin}/status")


class _Engine:
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


def _made_here(folder: Path, stack: Stack, progress: Progress) -> str:
    """Its name."""
    # A registry without our images has no image of testcontainers' reaper, either.
    testcontainers_config.ryuk_disabled = True
    image = images.servers(folder, stack.installation, progress)
    engine = DockerClient().client
    if not engine.images.list(image.name):
        with progress.step("Image into the engine"), image.archive.open("rb") as archive:
            engine.images.load(archive)
    image.archive.unlink()
    return image.name


def _chart(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CHART / f"{name}.yaml").read_text())
    return found


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())
