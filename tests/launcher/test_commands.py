"""The commands of the README exist, and fail in one sentence."""

import errno
import os
import re
from pathlib import Path

import pytest
import typer
from typer.main import get_command

import launcher.commands  # noqa: F401 - importing registers them
from launcher.cli import app, command

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\./souk ([a-z]+)", README.read_text()))))
def test_every_command_of_the_readme_exists(name: str) -> None:
    assert name in get_command(app).commands  # type: ignore[attr-defined]


def test_a_full_disk_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    @command
    def write() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/mnt/backup/file")

    with pytest.raises(typer.Exit):
        write()
    said = capsys.readouterr().err
    assert said.splitlines() == ["souk: No space left on device (/mnt/backup/file): free about 1 GB and try again."]
