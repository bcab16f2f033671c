"""`./souk check`: style, types, imports, lock file, SBOM, known flaws."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from launcher import supply_chain
from launcher.state import REPOSITORY

LOCK = "requirements.lock"
SERVICES_LOCK = "services.lock"
"""Its part for the image."""
OPERATORS_LOCK = "operators.lock"
"""For the operators' image: that of the services, and kopf."""

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Outcome:
    title: str
    passed: bool
    output: str


def _command(*command: str) -> Callable[[], Outcome]:
    return lambda: _run(" ".join(command), [str(BIN / command[0]), *command[1:]])


def lock_is_fresh(project: Path = REPOSITORY) -> Outcome:
    """Resolving changes the lock only if pyproject.toml has changed."""
    return _is_fresh(project, LOCK, compile_arguments)


def services_lock_is_fresh(project: Path = REPOSITORY) -> Outcome:
    return _is_fresh(project, SERVICES_LOCK, services_compile_arguments)


def operators_lock_is_fresh(project: Path = REPOSITORY) -> Outcome:
    return _is_fresh(project, OPERATORS_LOCK, operators_compile_arguments)


def compile_arguments(target: Path) -> list[str]:
    """For every platform and Python version, without index addresses."""
    groups = [
        argument for group in ("launcher", "operators", "s3", "containers", "dev") for argument in ("--group", group)
    ]
    return [*_COMPILE, *groups, "--output-file", str(target)]


def services_compile_arguments(target: Path) -> list[str]:
    """Of the versions in the whole lock."""
    return [*_COMPILE, "--constraint", LOCK, "--no-annotate", "--output-file", str(target)]


def operators_compile_arguments(target: Path) -> list[str]:
    return [*services_compile_arguments(target), "--group", "operators"]


_COMPILE = (
    *("pip", "compile", "pyproject.toml"),
    *("--universal", "--generate-hashes", "--no-header", "--no-emit-index-url", "--quiet"),
)


def _is_fresh(project: Path, lock: str, arguments: Callable[[Path], list[str]]) -> Outcome:
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / lock
        shutil.copy(project / lock, copy)
        outcome = _run(f"{lock} is fresh", [str(BIN / "uv"), *arguments(copy)], project)
        fresh = copy.read_text() == (project / lock).read_text()
    if outcome.passed and not fresh:
        return Outcome(outcome.title, False, f"pyproject.toml has changed; run: uv {' '.join(arguments(Path(lock)))}")
    return outcome


def sbom() -> Outcome:
    count = supply_chain.write_sbom()
    return Outcome(f"{supply_chain.SBOM} lists {count} packages", True, "")


def audit() -> Outcome:
    """Passes where there is no source of advisories."""
    if not supply_chain.has_advisories():
        return Outcome("no audit for known flaws: no source of advisories can be reached", True, "")
    flaws = supply_chain.audit(REPOSITORY / LOCK, supply_chain.AUDIT_SECONDS)
    if flaws is None:
        return Outcome("audit for known flaws", False, "The source of advisories stopped responding.")
    listed = "\n".join(f"{package}: {', '.join(ids)}" for package, ids in flaws.items())
    return Outcome("audit for known flaws", not flaws, listed)


CHECKS: tuple[Callable[[], Outcome], ...] = (
    _command("ruff", "check", "."),
    _command("ruff", "format", "--check", "."),
    _command("mypy", "--strict"),
    _command("lint-imports"),
    lock_is_fresh,
    services_lock_is_fresh,
    operators_lock_is_fresh,
    sbom,
    audit,
)


def _run(title: str, command: list[str], folder: Path = REPOSITORY) -> Outcome:
    outcome = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return Outcome(title, outcome.returncode == 0, (outcome.stdout + outcome.stderr).rstrip())
