"""Temporary servers for tests and benchmarks, and `./souk test`."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from launcher.progress import Progress
from launcher.stack import Stack
from launcher.state import REPOSITORY
from launcher.temporary import SERVERS, Where

MIN_PERCENT = 90.0
PACKAGES = {
    "chassis": "chassis/",
    **{path.parent.name: f"services/{path.parent.name}/" for path in sorted(REPOSITORY.glob("services/*/__init__.py"))},
}
"""Folder by package."""

_UNLIMITED = {
    "SOUK_RATE_LIMITS": json.dumps(dict.fromkeys(("enter", "anonymous", "token", "partner"), 1_000_000)),
    "SOUK_MAX_PER_HOUR": json.dumps(dict.fromkeys(("email", "sms", "push"), 1_000_000)),
}
"""A benchmark's few customers order more than people do."""


def run(arguments: Sequence[str], progress: Progress, where: Where = Where.HERE) -> tuple[int, dict[str, float | None]]:
    """Exit code, and coverage in percent by package (None without files)."""
    with servers(progress, where=where) as (folder, urls):
        environment = {**urls, "COVERAGE_FILE": str(folder / "coverage")}
        command = [
            sys.executable,
            "-m",
            "pytest",
            f"--basetemp={folder / 'pytest'}",
            "--cov",
            "--cov-report=",
            *arguments,
        ]
        code = subprocess.run(command, cwd=REPOSITORY, env=environment, check=False).returncode
        return code, _coverage(folder, environment)


def on_servers(progress: Progress, arguments: Sequence[str], services: bool = False) -> int:
    """Exit code of `python ARGUMENTS`."""
    with servers(progress, services) as (_, environment):
        return subprocess.run([sys.executable, *arguments], cwd=REPOSITORY, env=environment, check=False).returncode


@contextmanager
def servers(
    progress: Progress, services: bool = False, where: Where = Where.HERE
) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yields a temporary folder and the servers' URLs. services: only HERE."""
    with tempfile.TemporaryDirectory(prefix="souk-test-") as name:
        if where is not Where.HERE:
            from launcher.containers.servers import running

            with running(Path(name), where, progress) as (stack, more):
                yield Path(name), {**os.environ, **test_urls(stack), **more}
            return
        chosen = {} if services else {"servers": SERVERS}
        stack = Stack(
            Path(name) / "state", services=services, standard_ports=False, bound=True, progress=progress, **chosen
        )
        if services:
            stack.installation.environment = {**os.environ, **_UNLIMITED}
        try:
            stack.up()
            yield Path(name), {**os.environ, **test_urls(stack), **(_of_the_installation(stack) if services else {})}
        finally:
            stack.down(wipe=True)


def test_urls(stack: Stack) -> dict[str, str]:
    return {
        "SOUK_TEST_POSTGRES_URL": stack.url("postgres"),
        "SOUK_TEST_MONGO_URL": stack.url("mongo"),
        "SOUK_TEST_REDIS_URL": stack.url("redis"),
        "SOUK_TEST_BROKER_URL": stack.backing.broker,
        "SOUK_TEST_SERVER_LOGS": str(stack.state.logs),
    }


def _of_the_installation(stack: Stack) -> dict[str, str]:
    programs = {name: status.pid for name, status in stack.supervisor.statuses().items()}
    return {
        "SOUK_BENCH_GATEWAY_URL": stack.gateway_url,
        "SOUK_BENCH_PROGRAMS": json.dumps(programs),
        "SOUK_BENCH_STATE_DIR": str(stack.state.path),
        "SOUK_BENCH_DATABASES": json.dumps(dict(stack.backing.databases)),
    }


def _coverage(folder: Path, environment: Mapping[str, str]) -> dict[str, float | None]:
    report = folder / "coverage.json"
    command = [sys.executable, "-m", "coverage", "json", "-q", "-o", str(report)]
    subprocess.run(command, cwd=REPOSITORY, env=environment, check=False)
    return percentages(json.loads(report.read_text())["files"]) if report.exists() else {}


def percentages(files: Mapping[str, Mapping[str, Mapping[str, int]]]) -> dict[str, float | None]:
    """Line and branch coverage, from coverage.py's `files`."""
    found: dict[str, float | None] = {}
    for package, folder in PACKAGES.items():
        summaries = [file["summary"] for path, file in files.items() if path.startswith(folder)]
        whole = sum(each["num_statements"] + each.get("num_branches", 0) for each in summaries)
        covered = sum(each["covered_lines"] + each.get("covered_branches", 0) for each in summaries)
        found[package] = 100.0 * covered / whole if whole else None
    return found
