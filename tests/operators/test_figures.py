"""The queries that measure queues and releases, as Prometheus evaluates them."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from launcher import apt
from operators.canary import figures
from operators.scaler.scaler import queries

ORDERS, USERS = '{broker="a",queue="orders"}', '{broker="a",queue="users"}'
OTHER = '{broker="b",queue="orders"}'

SERIES = {
    f"rabbitmq_detailed_queue_messages_ready{ORDERS}": "0+15x40",
    f"rabbitmq_detailed_queue_messages_unacked{ORDERS}": "16x40",
    f"rabbitmq_detailed_queue_messages{ORDERS}": "16+15x40",
    # Two consumers, of which one is restarted.
    'souk_consumed_total{namespace="shop",queue="orders",instance="a"}': "0+30x40",
    'souk_consumed_total{namespace="shop",queue="orders",instance="b"}': "0+30x20 0+30x19",
    'souk_consumer_busy_seconds_total{namespace="shop",queue="orders",instance="a"}': "0+6x40",
    'souk_consumer_busy_seconds_total{namespace="shop",queue="orders",instance="b"}': "0+6x20 0+6x19",
    # Another queue, and another shop.
    f"rabbitmq_detailed_queue_messages_ready{USERS}": "7x40",
    'souk_consumed_total{namespace="shop",queue="users"}': "0+1x40",
    f"rabbitmq_detailed_queue_messages_ready{OTHER}": "9999x40",
    f"rabbitmq_detailed_queue_messages_unacked{OTHER}": "9999x40",
    f"rabbitmq_detailed_queue_messages{OTHER}": "0+9999x40",
    'souk_consumed_total{namespace="other",queue="orders"}': "0+9999x40",
    'souk_consumer_busy_seconds_total{namespace="other",queue="orders"}': "0+9999x40",
}
"""Every 15 s."""

AFTER_9_MINUTES = {"ready": 540, "unacknowledged": 16, "growth": 1, "consumed": 4, "busy": 0.8}


@pytest.fixture(scope="module", autouse=True)
def promtool() -> None:
    if not shutil.which("promtool") and apt.is_available():
        apt.install(["prometheus"], units=["prometheus"])
    if not shutil.which("promtool"):
        pytest.skip("needs promtool: apt-get install prometheus")


@pytest.mark.parametrize(("figure", "value"), AFTER_9_MINUTES.items())
def test_a_figure_is_that_of_its_queue(tmp_path: Path, figure: str, value: float) -> None:
    labels = {"namespace": "shop"}, {"broker": "a"}
    expression = queries("orders", *labels)[figure]
    evaluated(
        tmp_path,
        SERIES,
        {expression: value, queries("payments", *labels)[figure]: None},
    )


REQUESTS = "flask_http_request_duration_seconds"
OF = 'namespace="shop",app="orders"'
STABLE, CANARY = f'{OF},instance="stable"', f'{OF},instance="canary"'

RELEASES = {
    f'souk_build_info{{{STABLE},version="1"}}': "1x40",
    f'souk_build_info{{{CANARY},version="2"}}': "1x40",
    f'{REQUESTS}_count{{{STABLE},status="200"}}': "0+30x40",
    f'{REQUESTS}_bucket{{{STABLE},status="200",le="0.2"}}': "0+28x40",
    f'{REQUESTS}_count{{{CANARY},status="200"}}': "_x34 3+3x5",
    f'{REQUESTS}_bucket{{{CANARY},status="200",le="0.2"}}': "_x34 3+3x5",
    # Its first errors are as many as the series has at first.
    f'{REQUESTS}_count{{{CANARY},status="500"}}': "_x35 7x4",
    f'{REQUESTS}_bucket{{{CANARY},status="500",le="0.2"}}': "_x35 0x4",
    # A pod of the old release that is gone, other services and other shops.
    f'{REQUESTS}_count{{{OF},instance="gone",status="500"}}': "0+100x35 stale",
    f'souk_build_info{{{OF},instance="gone",version="1"}}': "1x35 stale",
    f'{REQUESTS}_count{{namespace="shop",app="users",instance="canary",status="500"}}': "0+100x40",
    f'{REQUESTS}_count{{namespace="other",app="orders",instance="canary",status="500"}}': "0+100x40",
    # Its container is restarted: what it counts from then on is not less than nothing.
    f'souk_build_info{{{OF},instance="restarted",version="4"}}': "1x40",
    f'{REQUESTS}_count{{{OF},instance="restarted",status="500"}}': "0+100x35 3x4",
    f'{REQUESTS}_bucket{{{OF},instance="restarted",status="500",le="0.2"}}': "0+100x35 2x4",
    # Gets its last request two minutes before.
    f'souk_build_info{{{OF},instance="switched",version="5"}}': "1x40",
    f'{REQUESTS}_count{{{OF},instance="switched",status="200"}}': "0+30x32 960x7",
    f'{REQUESTS}_bucket{{{OF},instance="switched",status="200",le="0.2"}}': "0+28x32 896x7",
    # And is stopped since.
    f'souk_build_info{{{OF},instance="stopped",version="6"}}': "1x35 stale",
    f'{REQUESTS}_count{{{OF},instance="stopped",status="200"}}': "0+30x32 960x2 stale",
    f'{REQUESTS}_bucket{{{OF},instance="stopped",status="200",le="0.2"}}': "0+28x32 896x2 stale",
    f'souk_messages_handled_total{{{STABLE},type="order.placed",outcome="done"}}': "0+4x40",
    f'souk_messages_handled_total{{{CANARY},type="order.placed",outcome="done"}}': "_x35 8x4",
    f'souk_messages_handled_total{{{CANARY},type="order.placed",outcome="retried"}}': "_x35 2x4",
    f'souk_tasks_handled_total{{{CANARY},task="pay",outcome="exhausted"}}': "_x35 1x4",
    f'souk_message_handling_seconds_count{{{CANARY},type="order.placed"}}': "_x35 10x4",
    f'souk_message_handling_seconds_bucket{{{CANARY},type="order.placed",le="0.25"}}': "_x35 6x4",
}
"""Every 15 s."""

AFTER_10_MINUTES = [
    ("requests", "1", 0, {"count": 600, "failed": 0, "timed": 600, "fast": 560}),
    ("requests", "2", 0, {"count": 25, "failed": 7, "timed": 25, "fast": 18}),
    ("messages", "1", 0, {"count": 80, "failed": 0, "timed": 0, "fast": 0}),
    ("messages", "2", 0, {"count": 11, "failed": 3, "timed": 10, "fast": 6}),
    # As it was before a switch.
    ("requests", "5", 120, {"count": 600, "failed": 0, "timed": 600, "fast": 560}),
    ("requests", "5", 0, {"count": 360, "failed": 0, "timed": 360, "fast": 336}),
    ("requests", "6", 120, {"count": 600, "failed": 0, "timed": 600, "fast": 560}),
    ("requests", "4", 0, {"count": 3, "failed": 3, "timed": 3, "fast": 2}),
    ("requests", "3", 0, {"count": None, "failed": 0, "timed": 0, "fast": 0}),
]


@pytest.mark.parametrize(("kind", "version", "ago", "values"), AFTER_10_MINUTES)
def test_figures_are_those_of_a_release(
    tmp_path: Path, kind: str, version: str, ago: int, values: dict[str, float | None]
) -> None:
    found = figures.queries(kind, {"namespace": "shop", "app": "orders"}, version, 300, ago)
    evaluated(tmp_path, RELEASES, {found[name]: value for name, value in values.items()}, "10m")


def test_an_edge_says_whether_it_reaches_a_canary(tmp_path: Path) -> None:
    """As both edges do: 1 for the state that a target is in."""

    def series(namespace: str, instance: str, target: str, state: str) -> dict[str, str]:
        labels = f'namespace="{namespace}",instance="{instance}",target="{target}",subsystem="http"'
        states = ("healthchecks_off", "healthy", "unhealthy", "dns_error")
        return {f'kong_upstream_target_health{{{labels},state="{each}"}}': f"{each == state:d}x40" for each in states}

    found = series("shop", "a", "orders-canary:1", "unhealthy") | series("shop", "b", "orders-canary:1", "healthy")
    found |= series("shop", "c", "orders-canary:1", "dns_error") | series("other", "a", "orders:1", "unhealthy")
    found |= series("shop", "a", "orders:1", "healthchecks_off")
    expected = {"orders-canary:1": 2, "orders:1": 0, "users-canary:1": None}
    evaluated(tmp_path, found, {figures.unreachable("shop", target): value for target, value in expected.items()})


def evaluated(tmp_path: Path, series: Mapping[str, str], expected: Mapping[str, float | None], at: str = "9m") -> None:
    """expected: by expression, None without data."""
    test = {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                # Rounded, as sums of floats are.
                "expr": f"round({expression}, 0.001)",
                "eval_time": at,
                "exp_samples": [] if value is None else [{"labels": "{}", "value": value}],
            }
            for expression, value in expected.items()
        ],
    }
    file = tmp_path / "tests.yml"
    file.write_text(json.dumps({"rule_files": [], "evaluation_interval": "1m", "tests": [test]}))
    outcome = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, check=False)
    assert not outcome.returncode, outcome.stdout + outcome.stderr
