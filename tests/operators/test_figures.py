"""The queries that measure a queue, as Prometheus evaluates them."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from launcher import apt
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
    test = {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in SERIES.items()],
        "promql_expr_test": [
            # Rounded, as sums of floats are.
            {
                "expr": f"round({expression}, 0.001)",
                "eval_time": "9m",
                "exp_samples": [{"labels": "{}", "value": value}],
            },
            {"expr": queries("payments", *labels)[figure], "eval_time": "9m", "exp_samples": []},
        ],
    }
    file = tmp_path / "tests.yml"
    file.write_text(json.dumps({"rule_files": [], "evaluation_interval": "1m", "tests": [test]}))
    outcome = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, check=False)
    assert not outcome.returncode, outcome.stdout + outcome.stderr
