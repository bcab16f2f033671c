"""The commands of the README exist."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

import launcher.commands  # noqa: F401 - importing registers them
from launcher.cli import app

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\./souk ([a-z]+)", README.read_text()))))
def test_every_command_of_the_readme_exists(name: str) -> None:
    assert name in get_command(app).commands  # type: ignore[attr-defined]
