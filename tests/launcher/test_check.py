"""The lock check, on a project without dependencies, which needs no index."""

from pathlib import Path

import pytest

from launcher import check


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "x"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = []\n\n'
        "[dependency-groups]\nlauncher = []\noperators = []\ns3 = []\ncontainers = []\ndev = []\n"
    )
    (tmp_path / check.LOCK).write_text("")
    return tmp_path


def test_a_lock_with_exactly_the_dependencies_is_fresh(project):
    assert check.lock_is_fresh(project).passed


def test_a_lock_with_anything_else_is_stale_and_left_alone(project):
    stale = "flask==3.1.3 \\\n    --hash=sha256:" + "0" * 64 + "\n    # via x (pyproject.toml)\n"
    (project / check.LOCK).write_text(stale)
    outcome = check.lock_is_fresh(project)
    assert not outcome.passed
    assert "uv pip compile" in outcome.output
    assert (project / check.LOCK).read_text() == stale
