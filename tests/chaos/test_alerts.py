"""The closed loop: a fault fires exactly its alerts, the runbook's commands are run, and the alerts resolve.

`-m long` writes docs/alerts.md.
"""

import re
import shutil
import time
from collections.abc import Iterator

import pytest
import urllib3

from launcher.stack import Stack
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.monitored import FACTOR, FIRE_SECONDS, RESOLVE_SECONDS, Monitored
from tests.chaos.monitored import monitored as watched
from tests.installation import ROOT, mails_url, until

RUNBOOKS = ROOT / "monitoring" / "runbooks"
TABLE = ROOT / "docs" / "alerts.md"

HEAD = f"""\
# Faults and their alerts

Written by `./souk test tests/chaos/test_alerts.py -m long`, which causes each fault in a running installation, waits until its alerts
reach a webhook, runs the commands of the runbook, and waits until the alerts have resolved. No other alert may fire.
Times and ages in the rules were {FACTOR} times shorter than in monitoring/, and the seconds are those measured so.

| fault | alerts | fires after | repaired by | resolves after |
|---|---|---|---|---|
"""

QUICK = ("orders-worker hangs (SIGSTOP)",)


@pytest.fixture(scope="module")
def monitored(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    if not shutil.which("prometheus") or not shutil.which("prometheus-alertmanager"):
        pytest.skip("needs apt-get install prometheus prometheus-alertmanager")
    with watched(stack, tmp_path_factory.mktemp("monitoring")) as found:
        yield found


def in_runbook(command: str, alert: str) -> bool:
    """A program stands for PROGRAM, a service for SERVICE."""
    file = re.sub(r"(?<!^)(?=[A-Z])", "-", alert).lower()
    verb, _, argument = command.partition(" ")
    named = (
        argument,
        *(["PROGRAM", "SERVER", "SERVICE", f"SERVICE-{argument.rpartition('-')[2]}"] if argument else []),
    )
    text = (RUNBOOKS / f"{file}.md").read_text()
    return any(f"./souk {verb} {name}".strip() in text for name in named)


def test_faults_are_repaired_by_commands_of_their_runbooks() -> None:
    unknown = [
        (name, command)
        for name, fault in FAULTS.items()
        for command in fault.commands
        if not in_runbook(command, fault.alerts[0])
    ]
    assert unknown == []


def outcome_of(monitored: Monitored, fault: Fault) -> tuple[float, float]:
    """Seconds until its alerts fired, and from the repair until they resolved."""
    until(monitored.is_quiet, RESOLVE_SECONDS)
    start, expected = time.monotonic(), set(fault.alerts)
    with fault.inject(monitored):
        until(lambda: monitored.inbox.open() >= expected, FIRE_SECONDS)
        fired = time.monotonic()
        for command in fault.commands:
            monitored.souk(*command.split())
    repaired = time.monotonic()
    until(monitored.is_quiet, RESOLVE_SECONDS)
    assert monitored.inbox.fired_since(start) == expected
    return fired - start, time.monotonic() - repaired


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", QUICK)
def test_a_fault_fires_its_alerts_which_its_runbook_resolves(monitored: Monitored, name: str) -> None:
    outcome_of(monitored, FAULTS[name])
    mails = urllib3.request("GET", mails_url(monitored.stack)).json()
    assert any(fired in str(mails) for fired in FAULTS[name].alerts)


def record(name: str, row: str) -> None:
    """In the table, among the faults that were tried earlier."""
    lines = TABLE.read_text().splitlines() if TABLE.exists() else []
    rows = {line.split("|")[1].strip(): line for line in lines if line.startswith("| ")} | {name: row}
    TABLE.write_text(HEAD + "".join(f"{rows[fault]}\n" for fault in FAULTS if fault in rows))


@pytest.mark.long
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_fires_exactly_its_alerts(monitored: Monitored, name: str) -> None:
    fault = FAULTS[name]
    fired, resolved = outcome_of(monitored, fault)
    record(name, f"| {name} | {', '.join(fault.alerts)} | {fired:.0f} | {repair(fault)} | {resolved:.0f} |")


def repair(fault: Fault) -> str:
    return "<br>".join(f"`./souk {command}`" for command in fault.commands) or "the cause's end"


def test_the_table_has_each_fault_with_its_alerts_and_what_repaired_it() -> None:
    text = TABLE.read_text()
    assert text.startswith(HEAD)
    rows = [[cell.strip() for cell in line.split("|")] for line in text.removeprefix(HEAD).splitlines()]
    assert [row[1:3] + row[4:5] for row in rows] == [
        [name, ", ".join(fault.alerts), repair(fault)] for name, fault in FAULTS.items()
    ]
    assert all(row[3].isdecimal() and row[5].isdecimal() for row in rows)
