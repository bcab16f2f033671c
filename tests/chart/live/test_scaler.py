"""Consumers come for a backlog and go one by one, and nothing is lost."""

import json
from collections.abc import Iterator

import pytest

from tests.chart.conftest import Render, of
from tests.chart.live import metrics
from tests.chart.live.shop import MANY_SECONDS, VALUES, Load, Shop
from tests.installation import until

WORKER = "products-worker"
SCALER = f"consumerscaler/{WORKER}"
MOST = 3
WAITING = 600
"""Orders, each a message: enough for the first worker to be seen at work before they are handled."""


@pytest.fixture
def monitored(shop: Shop, render: Render, operators: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """As scalers ask for figures, one never stops without."""
    [pod_monitor] = of(render(VALUES, "monitoring.podMonitor=true"), "PodMonitor").values()
    with metrics.prometheus(shop.cluster, pod_monitor, operators, tmp_path_factory.mktemp("prometheus")):
        yield
        shop.upgrade("--set=operators.enabled=false", "--set=operators.scaler=", "--force-conflicts")


def replicas(shop: Shop) -> int:
    return int(shop.kubectl("get", f"deployment/{WORKER}", "-o=jsonpath={.spec.replicas}"))


def test_workers_come_for_a_backlog_and_go_one_by_one(shop: Shop, operators: str, monitored: None) -> None:
    shop.kubectl("scale", f"deployment/{WORKER}", "--replicas=0")
    with Load(shop, lookers=0, buyers=8, pause=0) as load:
        until(lambda: load.bought >= WAITING, MANY_SECONDS)
    assert not load.errors, load.errors[:9]
    chosen = {"enabled": "true", "image": operators, "metricsUrl": metrics.URL, "scaler": "souk", "maxReplicas": MOST}
    shop.upgrade(*(f"--set=operators.{name}={value}" for name, value in chosen.items()))
    spec = {"drainSeconds": 1, "holdSeconds": 15}
    shop.kubectl("patch", SCALER, "--type=merge", f"--patch={json.dumps({'spec': spec})}")
    until(lambda: replicas(shop) == MOST, MANY_SECONDS)
    seen = [MOST]

    def is_back() -> bool:
        if (now := replicas(shop)) != seen[-1]:
            seen.append(now)
        return now == 1

    until(is_back, MANY_SECONDS)
    assert seen == [MOST, 2, 1]
    until(lambda: len(shop.pods(WORKER)) == 1, MANY_SECONDS)
    shop.comes_right()
