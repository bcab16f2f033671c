"""Orders go on while a node is drained, and after it was killed."""

from collections.abc import Iterator, Sequence

import pytest

from tests.chart.conftest import Render, of
from tests.chart.live.shop import MANY_SECONDS, VALUES, Load, Shop
from tests.installation import until


@pytest.fixture(scope="module")
def doubled(shop: Shop, render: Render) -> Iterator[list[str]]:
    """Programs with two pods each."""
    # All must fit on one node.
    small = [f"--set={kind}.resources.requests.cpu=10m" for kind in ("web", "gateway", "worker", "celery", "console")]
    # Where there was an autoscaler, the number of pods is still its as well.
    shop.upgrade("--set=web.replicas=2", "--set=gateway.replicas=2", *small, "--force-conflicts")
    yield [name for name in of(render(VALUES), "Deployment") if not name.endswith(("-worker", "-celery"))]
    shop.rollback()


@pytest.fixture
def single(shop: Shop, render: Render, doubled: list[str]) -> list[str]:
    """Programs with one pod, which is on the second node; others have one on each."""
    servers = "--selector=app.kubernetes.io/component=server"
    assert not shop.items("pods", servers, "--field-selector=spec.nodeName=n2"), "they would lose all that they know"
    found = [name for name in of(render(VALUES), "Deployment") if name not in doubled]
    if any(len(nodes_of(shop, name)) < 2 for name in doubled if name != "console-web"):
        restart(shop, doubled)
    with shop.without_node("n1"):
        restart(shop, found)
    assert {node for name in found for node in nodes_of(shop, name)} == {"n2"}
    return found


def test_customers_do_not_notice_that_a_node_is_drained(shop: Shop, single: list[str]) -> None:
    with Load(shop) as load:
        load.goes_on()
        with shop.without_node("n2"):
            shop.cluster.kubectl(
                "drain", "n2", "--ignore-daemonsets", "--delete-emptydir-data", f"--timeout={MANY_SECONDS}s"
            )
            assert not shop.items("pods", "--field-selector=spec.nodeName=n2")
            until(lambda: all(shop.pods(name) for name in single), MANY_SECONDS)
            load.goes_on()
    assert not load.errors, load.errors[:9]
    shop.comes_right()


def test_orders_go_on_after_a_node_was_killed(shop: Shop, single: list[str]) -> None:
    with Load(shop, is_patient=True) as load:
        load.goes_on()
        shop.cluster.node(2).stop()
        until(lambda: shop.cluster.ready_nodes() == ["n1"], MANY_SECONDS)
        until(lambda: all(shop.pods(name) for name in single), MANY_SECONDS)
        load.goes_on()
        shop.cluster.up(nodes=2)
        load.goes_on()
    shop.comes_right()


def nodes_of(shop: Shop, program: str) -> set[str]:
    ready = shop.pods(program)
    return {pod["spec"]["nodeName"] for pod in shop.items("pods") if pod["metadata"]["name"] in ready}


def restart(shop: Shop, programs: Sequence[str]) -> None:
    deployments = [f"deployment/{name}" for name in programs]
    shop.kubectl("rollout", "restart", *deployments)
    for deployment in deployments:
        shop.kubectl("rollout", "status", deployment, f"--timeout={MANY_SECONDS}s")
