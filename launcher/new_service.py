"""Writes a new service from the complete one in `templates/service/`."""

import keyword
import re
import subprocess
import sys
from pathlib import Path

from launcher.check import BIN
from launcher.errors import LaunchError
from launcher.manifests import SERVICES
from launcher.servers import SERVERS
from launcher.services import OURS
from launcher.state import REPOSITORY

TEMPLATES = Path(__file__).parent / "templates" / "service"


def write(name: str, record: str = "") -> list[Path]:
    """Returns the files. name: plural. record: singular, derived if empty. Raises LaunchError."""
    record = record or _singular(name)
    _check(name, record)
    names = {"reviews": name, "Reviews": name.title(), "review": record, "Review": record.title()}

    def renamed(text: str) -> str:
        return re.sub("[Rr]eviews?", lambda match: names[match[0]], text)

    files = {Path(renamed(str(source.relative_to(TEMPLATES)))): source for source in TEMPLATES.rglob("*.*")}
    if existing := [file for file in files if (REPOSITORY / file).exists()]:
        raise LaunchError(f"{existing[0]} already exists.")
    for file, source in files.items():
        (REPOSITORY / file).parent.mkdir(parents=True, exist_ok=True)
        (REPOSITORY / file).write_text(renamed(source.read_text()))
    # Other names sort and wrap differently.
    python = [str(file) for file in files if file.suffix == ".py"]
    _run(str(BIN / "ruff"), "check", "--quiet", "--select", "I", "--fix", *python)
    _run(str(BIN / "ruff"), "format", "--quiet", *python)
    _run(sys.executable, "-m", "tests.contract.recorded")
    (REPOSITORY / "docs" / "settings.md").write_text(_run(sys.executable, "-m", "launcher", "settings"))
    _run(sys.executable, "-m", "launcher", "chart", "generate")
    return sorted(files)


def _singular(name: str) -> str:
    if not name.endswith("s"):
        raise LaunchError(f"What is one of {name} called? Name it with --record.")
    return name.removesuffix("ies") + "y" if name.endswith("ies") else name.removesuffix("s")


def _check(name: str, record: str) -> None:
    for word in (name, record):
        if not re.fullmatch("[a-z]{2,30}", word) or keyword.iskeyword(word):
            raise LaunchError(f"{word}: a name has 2 to 30 lower-case letters and is not a Python keyword.")
    if name == record or name in {
        *SERVICES,
        *OURS,
        *SERVERS,
        "account",
        "assets",
        "demo",
        "docs",
        "operations",
        "partners",
        "shop",
        "staff",
    }:
        raise LaunchError(f"The name {name} is taken.")


def _run(*command: str) -> str:
    outcome = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if outcome.returncode:
        raise LaunchError(f"{' '.join(command[:3])} failed:", (outcome.stdout + outcome.stderr).splitlines()[-15:])
    return outcome.stdout
