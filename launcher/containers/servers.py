"""The temporary servers of `./souk test --servers=containers`: those of compose.yaml, started by testcontainers.

`--servers=debian` needs no registry: its image is the one of our own cluster, where SecantusDB stands in for MongoDB; there is no Kong.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from testcontainers.core.config import testcontainers_config
from testcontainers.core.docker_client import DockerClient

from launcher.containers.engine import Engine, expect_engine
from launcher.containers.plan import VARIABLES, Edge, chart_file, described, planned
from launcher.kubernetes import images, place
from launcher.progress import Progress
from launcher.stack import Stack
from launcher.temporary import Where
from launcher.together import Together


@contextmanager
def running(
    folder: Path, where: Where, progress: Progress, environment: Mapping[str, str] = os.environ
) -> Iterator[tuple[Stack, dict[str, str]]]:
    """Yields an installation whose servers are containers, and what else tests are told. Raises LaunchError."""
    expect_engine()
    stack = place.stack(folder / "state", {})
    chosen = {name: image for name, variable in VARIABLES.items() if (image := environment.get(variable, ""))}
    edge = Edge(chosen.get("kong", chart_file("values")["kong"]["image"] if where is Where.CONTAINERS else ""))
    engine = Engine(stack, progress)
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


# --- inside


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
