from pathlib import Path

import pytest

from launcher import logs


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    for name in ("web", "worker"):
        (tmp_path / name).write_text("".join(f"{name} {number}\n" for number in range(5)))
    return {name: tmp_path / name for name in ("web", "worker")}


def test_the_last_lines_of_one_program(files):
    del files["worker"]
    assert list(logs.lines(files, 2, follow=False)) == ["web 3", "web 4"]
    assert list(logs.lines(files, 0, follow=False)) == []


def test_lines_of_several_programs_are_prefixed(files):
    assert list(logs.lines(files, 1, follow=False)) == ["web | web 4", "worker | worker 4"]


def test_following_gives_complete_new_lines_also_after_a_rotation(files):
    del files["worker"]
    new = logs.lines(files, 1, follow=True)
    assert next(new) == "web 4"
    with open(files["web"], "a") as log:
        log.write("new\nhalf")
    assert next(new) == "new"
    files["web"].write_text("fresh\n")
    assert next(new) == "fresh"


def test_a_missing_log_has_no_lines(tmp_path):
    assert logs.last_lines(tmp_path / "nothing") == []
