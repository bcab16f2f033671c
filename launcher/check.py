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
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / LOCK
        shutil.copy(project / LOCK, copy)
        outcome = _run(f"{LOCK} is fresh", [str(BIN / "uv"), *compile_arguments(copy)], project)
        fresh = copy.read_text() == (project / LOCK).read_text()
    if outcome.passed and not fresh:
        return Outcome(
            outcome.title, False, f"pyproject.toml has changed; run: uv {' '.join(compile_arguments(Path(LOCK)))}"
        )
    return outcome


def compile_arguments(target: Path) -> list[str]:
    """For every platform and Python version, without index addresses."""
    groups = [argument for group in ("launcher", "dev") for argument in ("--group", group)]
    flags = ["--universal", "--generate-hashes", "--no-header", "--no-emit-index-url", "--quiet"]
    return ["pip", "compile", "pyproject.toml", *groups, *flags, "--output-file", str(target)]


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
    sbom,
    audit,
)


def _run(title: str, command: list[str], folder: Path = REPOSITORY) -> Outcome:
    outcome = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return Outcome(title, outcome.returncode == 0, (outcome.stdout + outcome.stderr).rstrip())
