"""Each alert uses existing metrics and has a runbook, whose commands and log events exist."""

import ast
import re
from pathlib import Path

import pytest
import yaml

import launcher.commands  # noqa: F401 - importing registers the commands
from launcher.cli import app

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "monitoring" / "rules").glob("*.yml"))
GROUPS = [group for file in FILES for group in yaml.safe_load(file.read_text())["groups"]]
RUNBOOKS = sorted((ROOT / "monitoring" / "runbooks").glob("*.md"))
RULES = [(rule.get("alert"), rule["expr"]) for group in GROUPS for rule in group["rules"]]
SOURCES = [
    path.read_text()
    for folder in ("chassis", "launcher", "operators", "services")
    for path in (ROOT / folder).rglob("*.py")
]
SUFFIXES = ("_total", "_bucket", "_count")


@pytest.mark.parametrize(("alert", "expression"), RULES)
def test_the_metrics_of_an_alert_exist(alert: str, expression: str) -> None:
    measured = {name for source in SOURCES for name in re.findall(r'"(souk_[a-z_]+)"', source)}
    measured |= {f"{name}{suffix}" for name in measured for suffix in SUFFIXES}
    assert set(re.findall(r"souk_[a-z_]+", expression)) <= measured


def test_no_program_that_only_imports_a_gauge_reports_0() -> None:
    """With labels it has no series before it is set."""
    made = [
        node
        for source in SOURCES
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Gauge"
    ]
    assert made
    unlabelled = [
        node for node in made if len(node.args) < 3 and "labelnames" not in {each.arg for each in node.keywords}
    ]
    assert [ast.unparse(node) for node in unlabelled] == [], "make it an OwnGauge"


def test_each_alert_has_its_runbook_and_each_runbook_its_alert() -> None:
    written = {path.relative_to(ROOT).as_posix() for path in RUNBOOKS}
    named = {
        rule["annotations"]["runbook"]: rule["alert"] for group in GROUPS for rule in group["rules"] if "alert" in rule
    }
    assert named.keys() == written
    assert all((ROOT / runbook).read_text().startswith(f"# {alert}\n") for runbook, alert in named.items())


@pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda path: path.stem)
def test_the_commands_of_a_runbook_exist(runbook: Path) -> None:
    existing = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    existing |= {
        str(group.name or group.typer_instance.info.name) for group in app.registered_groups if group.typer_instance
    }
    named = set(re.findall(r"\./souk ([a-z]+)", runbook.read_text()))
    assert named
    assert named <= existing


def test_the_log_events_of_the_runbooks_exist() -> None:
    named = {event for runbook in RUNBOOKS for event in re.findall(r"event\s`([^`]+)`", runbook.read_text())}
    assert named
    assert [event for event in named if not any(f'"{event}"' in source for source in SOURCES)] == []
