"""After a script of orders, refusals, refunds and errors, every panel has data, and the headlines are what the script did."""

import math
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest
import urllib3
import yaml

from launcher import dashboards, slos
from launcher.dashboards import Panel
from launcher.stack import Stack
from services.console import figures
from tests.chaos.monitored import prometheus, running
from tests.installation import ROOT, Person, catalogue_of, edge_is_whole, installed, new_person, until
from tests.ports import free_port

SLOS = yaml.safe_load(slos.FILE.read_text())

SERVICE = "orders"
"""Of the dashboard of one service."""

CONFIRMED, REFUNDED, DECLINED, OUT_OF_STOCK, ERRORS = 4, 2, 3, 1, 5
CENTS = 1250
"""What one order costs."""

HEADLINES = [
    (dashboards.CONFIRMED, CONFIRMED + REFUNDED),
    (dashboards.CANCELLED, REFUNDED + DECLINED + OUT_OF_STOCK),
    (dashboards.DECLINED, DECLINED),
    (dashboards.REVENUE, (CONFIRMED + REFUNDED) * CENTS / 100),
    (dashboards.REFUNDED, REFUNDED * CENTS / 100),
    (dashboards.ERRORS, ERRORS),
]


@dataclass
class Measured:
    """An installation of which no one else uses anything, and its Prometheus."""

    stack: Stack
    url: str
    began_at: float = 0.0
    """When the script began; unix time."""

    def query(self, expression: str, **at: float) -> list[Any]:
        """The last value of each series."""
        return [each["value"] for each in self.series(expression, **at)]

    def series(self, expression: str, **at: float) -> list[Any]:
        found: list[Any] = self._data("query", query=expression, **at)
        return found

    def points(self, expression: str) -> list[float]:
        """All values of all series since the start."""
        found = self._data("query_range", query=expression, start=self.began_at, end=time.time(), step=2)
        return [float(value) for series in found for _, value in series["values"]]

    def value(self, expression: str, **at: float) -> float:
        found = self.query(expression, **at)
        return float(found[0][1]) if found else math.nan

    def _data(self, kind: str, **fields: Any) -> Any:
        content = urllib3.request("GET", f"{self.url}/api/v1/{kind}?{urlencode(fields)}").json()
        assert content["status"] == "success", (fields, content)
        return content["data"]["result"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    if not shutil.which("prometheus"):
        pytest.skip("needs apt-get install prometheus")
    folder, port = tmp_path_factory.mktemp("dashboards"), free_port()
    with installed(tmp_path_factory.mktemp("measured")) as stack, ExitStack() as opened:
        configured = prometheus(folder, stack.state.path / "prometheus", free_port(), port)
        opened.enter_context(running(configured, folder))
        found = Measured(stack, f"http://127.0.0.1:{port}")
        until(lambda: is_scraped(found))
        # A counter's first value is no increase.
        play(stack, 1, 1, 1, 1, 1)
        warm = [2, 3, 1, 2 * CENTS / 100, CENTS / 100, 1]
        until(lambda: [total(found, panel) for panel, _ in HEADLINES] == warm)
        found.began_at = time.time()
        play(stack, CONFIRMED, REFUNDED, DECLINED, OUT_OF_STOCK, ERRORS)
        whole = [before + value for before, (_, value) in zip(warm, HEADLINES, strict=True)]
        until(lambda: [total(found, panel) for panel, _ in HEADLINES] == whole)
        yield found


def is_scraped(measured: Measured) -> bool:
    try:
        return bool(measured.query("up == 1")) and not measured.query("up == 0")
    except (urllib3.exceptions.HTTPError, ValueError):
        return False


def play(stack: Stack, confirmed: int, refunded: int, declined: int, out_of_stock: int, errors: int) -> None:
    leila: Person = new_person(stack)()
    plenty, scarce = (catalogue_of(stack)(stock) for stock in (100, 1))
    leila.call("GET", f"/products/{plenty}")
    for count, quantity, product, token, status in (
        (confirmed + refunded, 1, plenty, "tok_success", "confirmed"),
        (declined, 1, plenty, "tok_declined_insufficient_funds", "cancelled"),
        (out_of_stock, 2, scarce, "tok_success", "cancelled"),
    ):
        placed = [leila.order(product, quantity, token)["id"] for _ in range(count)]
        assert {leila.settled(order)["status"] for order in placed} == {status}
        if status == "confirmed":
            until(lambda: all(status == "captured" for status in payments(leila)))
            for order in placed[:refunded]:
                leila.call("DELETE", f"/orders/{order}")
    stack.supervisor.stop(["payments-web"])
    statuses = [leila.send("GET", f"/payments/user/{leila.id}").status for _ in range(errors)]
    stack.supervisor.start_program("payments-web")
    stack.wait_ready("payments-web")
    until(lambda: edge_is_whole(stack))
    # The edge may not have noticed yet, or be waiting for it.
    assert set(statuses) <= {502, 503, 504}


def payments(person: Person) -> list[str]:
    """The status of each."""
    return [payment["status"] for payment in person.call("GET", f"/payments/user/{person.id}")["items"]]


def total(measured: Measured, panel: Panel) -> float:
    """Since the programs started."""
    [expression] = panel.expressions.values()
    return measured.value(re.sub(r"increase\((.*?)\[\$__range\]\)", r"\1", expression))


def filled(expression: str, seconds: int) -> str:
    values = {"$__range": f"{seconds}s", "$__rate_interval": "20s", "$app": SERVICE}
    for name, value in values.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


PANELS = [
    pytest.param(expression, id=f"{each.name}: {panel.title}: {legend}")
    for each in dashboards.dashboards()
    for panel in each.panels
    for legend, expression in panel.expressions.items()
]


RULES = [
    rule["expr"]
    for file in sorted((ROOT / "monitoring" / "rules").glob("[!s]*.yml"))
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
]
SERIES = sorted(set(re.findall(r"\b(?:souk|rabbitmq|pg|redis)_[a-z_]+[a-z]|\bup\b", " ".join(RULES))))

ELSEWHERE = {
    "souk_backup_created_timestamp_seconds",
    "souk_restore_proven_timestamp_seconds",
    "souk_operator_failures_total",
    "souk_operator_reason",
    "souk_payments_differences",
}
"""Of backups, which nobody has asked for here, of operators in a cluster, and of a reconciliation, ten minutes after the start."""


@pytest.mark.parametrize("series", [each for each in SERIES if each not in ELSEWHERE])
def test_what_an_alert_reads_comes_from_a_target_whose_death_is_noticed(measured: Measured, series: str) -> None:
    found = until(lambda: measured.series(f'count by (job, instance) ({{__name__=~"{series}(_.*)?"}})'))
    targets = [each["metric"] for each in measured.series("count by (job, instance) (up)")]
    assert [each["metric"] for each in found if each["metric"] not in targets] == []


_OF_A_ROUTE = {"instance", "service", "route"}

KONGS = {
    "kong_http_requests_total": {*_OF_A_ROUTE, "code"},
    "kong_bandwidth_bytes": {*_OF_A_ROUTE, "direction"},
    "kong_kong_latency_ms_bucket": {*_OF_A_ROUTE, "le"},
    "kong_request_latency_ms_bucket": {*_OF_A_ROUTE, "le"},
    "kong_upstream_latency_ms_bucket": {*_OF_A_ROUTE, "le"},
    "kong_upstream_target_health": {"instance", "upstream", "target", "address", "state"},
    "kong_nginx_connections_total": {"instance", "state"},
    "kong_memory_workers_lua_vms_bytes": {"instance", "pid"},
}
"""What kong/plugins/prometheus/grafana/kong-official.json of Kong's sources reads. Not Lua's shared memory: only Kong has that."""


@pytest.mark.parametrize("expression", PANELS)
def test_every_panel_has_data(measured: Measured, expression: str) -> None:
    points = until(lambda: measured.points(filled(expression, 60)))
    assert any(math.isfinite(point) for point in points)


def test_every_figure_of_the_overview_is_known(measured: Measured) -> None:
    def is_whole() -> bool:
        watched = figures.read(lambda expression: measured.series(expression))
        assert watched is not None
        budgets = {each.title for each in watched.lists["Error budgets of 30 days"]}
        return {each.title for each in watched.numbers} == {*figures.NUMBERS} and budgets == {*SLOS}

    until(is_whole)


@pytest.mark.parametrize(("panel", "done"), HEADLINES, ids=[panel.title for panel, _ in HEADLINES])
def test_the_headlines_are_what_the_script_did(measured: Measured, panel: Panel, done: float) -> None:
    """Exactly from counter to counter. `increase` extrapolates beyond its samples: how far depends on their moments."""
    [expression] = panel.expressions.values()
    now = time.time()
    since = int((now - measured.began_at) * 1000)
    exact = re.sub(r"increase\((.*?)\[\$__range\]\)", rf"(\1 - \1 offset {since}ms)", expression)
    assert measured.value(exact, time=now) == done
    assert measured.value(filled(expression, since // 1000)) > 0


@pytest.mark.parametrize(("series", "labels"), KONGS.items())
def test_kongs_own_dashboard_finds_its_series(measured: Measured, series: str, labels: set[str]) -> None:
    found = until(lambda: measured.series(f"count by ({','.join(labels)}) ({series})"))
    assert labels in [set(each["metric"]) for each in found]
