"""Lint reports the errors of a file by line."""

from pathlib import Path

import pytest

from services.gateway.lint import main
from services.gateway.settings import RenderSettings

HEAD = '_format_version: "3.0"\n'


@pytest.fixture(autouse=True)
def settings() -> None:
    RenderSettings.use(admin_port=1)


def test_a_valid_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "kong.yml"
    file.write_text(HEAD + "services: [{name: s, host: h}]\n")
    assert main(str(file)) == 0
    assert capsys.readouterr().out == f"{file}: no errors\n"


def test_each_error_is_printed_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "kong.yml"
    file.write_text(HEAD + "services:\n  - name: s\n    colour: red\n    host: h\n    size: big\n")
    assert main(str(file)) == 1
    printed = capsys.readouterr().out
    assert "line 4: services[0].colour: unknown field\n    colour: red\n" in printed
    assert "line 6: services[0].size: unknown field\n    size: big\n" in printed
    assert "2 errors" in printed


@pytest.mark.parametrize("text", ["#\n{% for", "#\n{{ nothing }}"])
def test_a_template_that_cannot_be_rendered(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    file = tmp_path / "kong.yml"
    file.write_text(text)
    assert main(str(file)) == 1
    assert capsys.readouterr().out.startswith(f"{file}: line 2 of the template: ")


def test_a_missing_file(tmp_path: Path) -> None:
    assert main(str(tmp_path / "absent.yml")) == 1
