"""The script `./souk` before there is a virtual environment: each failure is one line and exit code 1."""

import shutil
import subprocess
from pathlib import Path

import pytest

from launcher.state import REPOSITORY

TOOLS = (
    "sh",
    "readlink",
    "dirname",
    "cat",
    "cmp",
    "id",
    "mkdir",
    "rm",
    "awk",
    "grep",
    "head",
    "tail",
    "df",
    "cp",
    "true",
)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    folder.mkdir()
    shutil.copy(REPOSITORY / "souk", folder)
    (folder / "requirements.lock").write_text("uv==0.0.0 --hash=sha256:" + "0" * 64 + "\n")
    return folder


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH of bare tools, without any Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found
        (folder / tool).symlink_to(found)
    return str(folder)


def run(clone: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([clone / "souk", "status"], env=environment, capture_output=True, text=True, check=False)


def test_without_python_it_names_the_version_it_needs(clone, path):
    outcome = run(clone, PATH=path)
    assert outcome.returncode == 1
    assert outcome.stderr == (
        "souk: Python 3.11 or newer is needed, and none was found: install it, or name it in SOUK_PYTHON.\n"
    )


def test_a_folder_that_cannot_be_written_is_named(clone, path):
    (clone / ".venv").write_text("a file where the folder should be")
    outcome = run(clone, PATH=path)
    assert outcome.returncode == 1
    assert outcome.stderr.startswith(f"souk: cannot write to {clone}:")
    assert outcome.stderr.count("\n") == 1


def test_a_ready_environment_is_used_at_once(clone, path):
    (clone / ".venv" / "bin").mkdir(parents=True)
    python = clone / ".venv" / "bin" / "python"
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    shutil.copy(clone / "requirements.lock", clone / ".venv" / "installed.lock")
    (clone / ".venv" / "installed.at").write_text(f"{clone}\n")
    assert run(clone, PATH=path).stdout == "-m launcher status\n"
