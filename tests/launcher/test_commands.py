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


@pytest.mark.parametrize(
    ("number", "file", "sentence"),
    [
        (errno.ENOSPC, "/mnt/backup/file", "No space left on device (/mnt/backup/file): free about 1 GB"),
        (errno.EACCES, "/mnt/backup/file", "Permission denied (/mnt/backup/file): get permission"),
        (
            errno.EACCES,
            "/srv/souk/logs",
            "Permission denied (/srv/souk/logs): get permission, or choose another folder with SOUK_STATE_DIR,",
        ),
        (
            errno.EROFS,
            "/srv",
            "Read-only file system (/srv): make it writable, or choose another folder with SOUK_STATE_DIR,",
        ),
    ],
)
def test_what_is_wrong_with_a_disk_is_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: int, file: str, sentence: str
) -> None:
    monkeypatch.setenv("SOUK_STATE_DIR", "/srv/souk")

    @command
    def write() -> None:
        raise OSError(number, os.strerror(number), file)

    with pytest.raises(typer.Exit):
        write()
    assert capsys.readouterr().err.splitlines() == [f"souk: {sentence} and try again."]
