"""`./souk new service`: what it writes passes every check untouched, and works behind the edge."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from launcher.check import BIN
from launcher.state import REPOSITORY

NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".souk*", "__pycache__", ".pytest_cache", ".hypothesis")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with a new service, reviews."""
    folder = tmp_path_factory.mktemp("copy") / "souk"
    shutil.copytree(REPOSITORY, folder, ignore=NOT_COPIED)
    output = run(folder, "python", "-m", "launcher", "new", "service", "reviews")
    assert "services/reviews/app.py" in output
    return folder


def run(folder: Path, tool: str, *arguments: str) -> str:
    """What a tool of our virtual environment prints in `folder`. Raises AssertionError when it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    environment["SOUK_WITHOUT"] = "consul,prometheus"
    command = [BIN / tool, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_new_service_has_our_style(copy: Path) -> None:
    run(copy, "ruff", "check", ".")
    run(copy, "ruff", "format", "--check", ".")


@pytest.mark.timeout(300)
def test_a_new_service_has_types(copy: Path) -> None:
    run(copy, "mypy")


def test_a_new_service_imports_what_it_may(copy: Path) -> None:
    run(copy, "lint-imports")


def test_a_new_service_passes_its_own_tests_and_those_of_every_service(copy: Path) -> None:
    run(
        copy, "python", "-m", "pytest", "-q", "tests/reviews", "tests/contract", "-k", "reviews or messages or services"
    )


@pytest.mark.timeout(300)
def test_a_new_service_works_behind_the_edge(copy: Path) -> None:
    run(copy, "python", "-m", "pytest", "-q", "--timeout=280", "tests/launcher/journey.py")


@pytest.mark.parametrize(
    "name", ["orders", "gateway", "console", "assets", "stock", "Reviews", "my-reviews", "lambdas", "sheep"]
)
def test_a_name_that_is_taken_or_not_a_plural_is_refused(copy: Path, name: str) -> None:
    with pytest.raises(AssertionError, match="souk: "):
        run(copy, "python", "-m", "launcher", "new", "service", name)
