"""Burn-rate alerts from monitoring/slos.yaml: `python -m launcher.slos > monitoring/rules/slos.yml`.

Source: Beyer et al., "The Site Reliability Workbook", 2018, chapter 5 (multiple windows and burn rates).
"""

import re
import sys
from typing import Any, NamedTuple

import yaml

from launcher.state import REPOSITORY

FILE = REPOSITORY / "monitoring" / "slos.yaml"

HEADER = """\
# Written by `python -m launcher.slos` from monitoring/slos.yaml; do not edit.
"""

STEP_MINUTES = 5
"""Counted in steps, once a minute: long windows read few series."""


BUDGET = "slo:budget_left:ratio"
"""By slo: 1 while nothing failed in 30 days, below 0 once more failed than is allowed."""


class Burn(NamedTuple):
    """The budget of 30 days is spent `rate` times too fast, over the long window and still over the short one."""

    long: str
    short: str
    rate: float
    severity: str


BURNS = (Burn("1h", "5m", 14.4, "page"), Burn("6h", "30m", 6, "page"), Burn("3d", "6h", 1, "ticket"))


def rules() -> str:
    slos = yaml.safe_load(FILE.read_text())
    groups = [{"name": f"slo {name}", "interval": "1m", "rules": _rules(name, slo)} for name, slo in slos.items()]
    return HEADER + yaml.safe_dump({"groups": groups}, sort_keys=False, width=120)


def recorded(name: str) -> tuple[str, str]:
    """The series of what failed, and of all."""
    return f"slo:{_snake(name)}:bad", f"slo:{_snake(name)}:all"


def _rules(name: str, slo: dict[str, Any]) -> list[dict[str, Any]]:
    series = dict(zip(("bad", "all"), recorded(name), strict=True))
    counted: list[dict[str, Any]] = [{"record": series[part], "expr": _counted(slo[part])} for part in series]
    counted.append({"record": BUDGET, "labels": {"slo": name}, "expr": _budget_left(slo, *series.values())})
    return [*counted, *(_alert(name, slo, series["bad"], series["all"], burn) for burn in BURNS)]


def _budget_left(slo: dict[str, Any], bad: str, total: str) -> str:
    allowed = round(1 - slo["objective"] / 100, 6)
    return f"1 - (sum_over_time({bad}[30d]) / (sum_over_time({total}[30d]) > 0) or vector(0)) / {allowed:g}"


def _counted(expression: str) -> str:
    return re.sub(r"increase\(([^()]+|[^()]*\([^()]*\)[^()]*)\)", rf"increase(\1[{STEP_MINUTES}m])", expression)


def _alert(name: str, slo: dict[str, Any], bad: str, total: str, burn: Burn) -> dict[str, Any]:
    allowed = round((100 - slo["objective"]) / 100 * burn.rate, 6)
    ratios = [
        f"sum_over_time({bad}[{window}]) / sum_over_time({total}[{window}]) > {allowed:g}"
        for window in (burn.long, burn.short)
    ]
    # Each failure is in as many steps as a step has minutes.
    floor = f"sum_over_time({bad}[{burn.long}]) >= {slo['floor'] * STEP_MINUTES}"
    return {
        "alert": name,
        "expr": " and ".join([*ratios, floor]),
        "labels": {"severity": burn.severity, "window": burn.long},
        "annotations": {
            "summary": f"Promised: {slo['objective']} % {slo['promise']}. {{{{ $value | humanizePercentage }}}} were not, in {burn.long}.",
            "description": f"The error budget of 30 days is spent {burn.rate:g} times too fast.",
            "runbook": f"monitoring/runbooks/{_snake(name).replace('_', '-')}.md",
        },
    }


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


if __name__ == "__main__":
    sys.stdout.write(rules())
