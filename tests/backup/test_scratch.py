"""Folders of killed programs go, those of others that are at work stay."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.backup import drill, scratch
from launcher.progress import Progress
from launcher.state import StateFolder

PREFIX = "work-"

AT_WORK = """
import sys
from pathlib import Path
from launcher.backup import scratch

with scratch.temporary(Path(sys.argv[1]), "work-") as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_program_has_left_goes_with_the_next_and_not_before(tmp_path: Path) -> None:
    command = [sys.executable, "-c", AT_WORK, tmp_path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        theirs = Path(other.stdout.readline().strip())
        (theirs / "file").touch()
        with scratch.temporary(tmp_path, PREFIX) as ours:
            assert {*tmp_path.iterdir()} == {ours, theirs}
        assert scratch.is_held(theirs)
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert not scratch.is_held(theirs)
    scratch.sweep(tmp_path, PREFIX)
    assert [*tmp_path.iterdir()] == []


def test_a_link_to_elsewhere_is_not_followed(tmp_path: Path) -> None:
    (elsewhere := tmp_path / "elsewhere").mkdir()
    (link := tmp_path / f"{PREFIX}1").symlink_to(elsewhere)
    scratch.sweep(tmp_path, PREFIX)
    assert link.is_symlink()
    assert elsewhere.is_dir()


def test_a_killed_drills_data_go_with_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launcher.state.SYSTEM_ROOT", tmp_path / "system")
    state = StateFolder(tmp_path / "souk-restore-1" / drill.STATE)
    state.make()
    (state.system_folder / "postgres").mkdir(parents=True)
    scratch.sweep(tmp_path, drill.PREFIX, drill.forget)
    assert [*tmp_path.rglob("*")] == [tmp_path / "system"]


def test_a_drills_data_elsewhere_go_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launcher.state.SYSTEM_ROOT", tmp_path / "system")
    with scratch.temporary(tmp_path, drill.PREFIX, drill.forget) as folder:
        (StateFolder(folder / drill.STATE).system_folder / "postgres").mkdir(parents=True)
    assert [*tmp_path.rglob("*")] == [tmp_path / "system"]


def test_a_drill_needs_no_prometheus_and_says_nothing_about_it(tmp_path: Path) -> None:
    with drill.alone():
        assert "prometheus" not in drill.beside(tmp_path, Progress()).servers
