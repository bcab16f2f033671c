"""Each alert watches what some program measures, and says what to do about it."""

import importlib
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import REGISTRY

import launcher.commands  # noqa: F401 - importing registers the commands
from launcher.cli import app
from launcher.services import SERVICES

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "monitoring" / "rules").glob("*.yml"))
GROUPS = [group for file in FILES for group in yaml.safe_load(file.read_text())["groups"]]
RULES = [(rule["alert"], rule["expr"]) for group in GROUPS for rule in group["rules"]]


@pytest.mark.parametrize(("alert", "expression"), RULES)
def test_what_an_alert_watches_is_measured(alert: str, expression: str) -> None:
    for service in SERVICES:
        tasks = importlib.import_module(f"services.{service}.app").service.tasks
        if tasks is not None:
            tasks()
    measured = {sample.name for family in REGISTRY.collect() for sample in family.samples}
    measured |= {family.name for family in REGISTRY.collect()}
    named = set(re.findall(r"souk_[a-z_]+", expression))
    assert named, alert
    assert named <= measured, alert


def test_each_alert_has_its_runbook_and_each_runbook_its_alert() -> None:
    written = {path.relative_to(ROOT).as_posix() for path in (ROOT / "monitoring" / "runbooks").glob("*.md")}
    named = {rule["annotations"]["runbook"]: rule["alert"] for group in GROUPS for rule in group["rules"]}
    assert named.keys() == written
    assert all((ROOT / runbook).read_text().startswith(f"# {alert}\n") for runbook, alert in named.items())


@pytest.mark.parametrize("runbook", sorted((ROOT / "monitoring" / "runbooks").glob("*.md")), ids=lambda path: path.stem)
def test_the_commands_of_a_runbook_exist(runbook: Path) -> None:
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    known |= {
        str(group.name or group.typer_instance.info.name) for group in app.registered_groups if group.typer_instance
    }
    named = set(re.findall(r"\./souk ([a-z]+)", runbook.read_text()))
    assert named, "it says what to do"
    assert named <= known
