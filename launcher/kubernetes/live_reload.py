"""Copies saved files into running pods, whose programs then start again: the loop of tilt and skaffold, for any cluster."""

import io
import json
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from watchfiles import watch

from launcher.cluster.kubectl import Kubectl
from launcher.kubernetes.images import CODE
from launcher.state import REPOSITORY

RELEASED = ("kong", "k8s/chart")
"""Read when the chart is installed, as are migrations."""

LOOK_MILLISECONDS = 5_000
"""For containers that have started with the image's code meanwhile."""

_AT_ONCE = 8


def saved() -> Iterator[set[Path]]:
    """Paths in the repository whose files have changed or are gone; from time to time none."""
    folders = [REPOSITORY / name for name in {*CODE, *RELEASED}]
    for changes in watch(*folders, yield_on_timeout=True, rust_timeout=LOOK_MILLISECONDS):
        yield {Path(path).relative_to(REPOSITORY) for _, path in changes}


def needs_release(path: Path) -> bool:
    return "migrations" in path.parts or any(path.is_relative_to(folder) for folder in RELEASED)


@dataclass(frozen=True)
class Container:
    pod: str
    name: str
    id: str
    code: tuple[str, ...]
    """After a change of these it starts its program again."""

    def runs(self, path: Path) -> bool:
        return any(path.is_relative_to(each) for each in self.code)


@dataclass(frozen=True)
class Copied:
    pods: list[str]
    failed: dict[str, str]
    """By pod that got nothing: the reason, said once."""


@dataclass
class LiveReload:
    kubectl: Kubectl
    """With the release's namespace."""

    _saved: set[Path] = field(default_factory=set)
    """Since the image was made."""

    _current: set[str] = field(default_factory=set)
    """Containers that have them."""

    _told: set[str] = field(default_factory=set)
    """Containers that nothing could be copied into."""

    def begin(self) -> None:
        """After an installation: all containers have the code as it is."""
        self._saved = set()
        self._current = {each.id for each in self._containers()}

    def copy(self, paths: set[Path]) -> Copied:
        """To the containers that run them, and all that was saved before to new ones.

        One that takes nothing has most often just gone. The next call brings all of it to those that are there by then.
        """
        self._saved |= paths
        containers = self._containers()
        wanted = [
            (each, files)
            for each in containers
            if (files := sorted(filter(each.runs, paths if each.id in self._current else self._saved)))
        ]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            reasons = list(pool.map(lambda each: self._copy(*each), wanted))
        outcomes = [(container, reason) for (container, _), reason in zip(wanted, reasons, strict=True)]
        failed = {container.id: (container.pod, reason) for container, reason in outcomes if reason}
        self._current = {each.id for each in containers} - failed.keys()
        new = {pod: reason for id_, (pod, reason) in failed.items() if paths or id_ not in self._told}
        self._told = set(failed)
        return Copied([container.pod for container, reason in outcomes if not reason], new)

    def _containers(self) -> list[Container]:
        pods = json.loads(self.kubectl("get", "pods", "--selector=app.kubernetes.io/part-of=souk", "--output=json"))
        return [
            Container(pod["metadata"]["name"], each["name"], status["containerID"], tuple(each["args"][4:]))
            for pod in pods["items"]
            if "deletionTimestamp" not in pod["metadata"]
            for each in pod["spec"]["containers"]
            # Of the chart's `liveReload`: options and a command, then folders.
            if each.get("args", [])[:1] == ["watchfiles"]
            for status in pod["status"].get("containerStatuses", [])
            if status["name"] == each["name"] and "running" in status["state"]
        ]

    def _copy(self, container: Container, paths: Sequence[Path]) -> str:
        """Why not; empty when it is done."""
        there = [path for path in paths if (REPOSITORY / path).is_file()]
        gone = [str(path) for path in paths if path not in there]
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for path in there:
                tar.add(REPOSITORY / path, str(path))
        script = ["sh", "-c", 'rm -f -- "$@" && tar --extract --no-same-owner', "sh", *gone]
        command = [
            *self.kubectl.command,
            "exec",
            "--stdin",
            container.pod,
            f"--container={container.name}",
            "--",
            *script,
        ]
        outcome = subprocess.run(command, input=archive.getvalue(), capture_output=True, check=False)
        said = outcome.stderr.decode().strip() or f"kubectl ended with {outcome.returncode}"
        return said.splitlines()[-1] if outcome.returncode else ""
