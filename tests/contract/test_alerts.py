"""Each alert watches what some program measures."""

import importlib
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import REGISTRY

FILES = sorted((Path(__file__).parents[2] / "monitoring" / "rules").glob("*.yml"))
GROUPS = [group for file in FILES for group in yaml.safe_load(file.read_text())["groups"]]
RULES = [(rule["alert"], rule["expr"]) for group in GROUPS for rule in group["rules"]]


@pytest.mark.parametrize(("alert", "expression"), RULES)
def test_what_an_alert_watches_is_measured(alert: str, expression: str) -> None:
    for service in ("users", "products", "orders", "payments", "notifications"):
        importlib.import_module(f"services.{service}.app")
    measured = {sample.name for family in REGISTRY.collect() for sample in family.samples}
    measured |= {family.name for family in REGISTRY.collect()}
    named = set(re.findall(r"souk_[a-z_]+", expression))
    assert named, alert
    assert named <= measured, alert
