"""Customers notice no change of a release, and no autoscaling; what cannot start replaces nothing."""

from tests.chart.conftest import Render, of
from tests.chart.live.shop import MANY_SECONDS, VALUES, Load, Shop
from tests.installation import until


def test_customers_notice_neither_an_upgrade_nor_a_rollback(shop: Shop) -> None:
    with Load(shop) as load:
        shop.upgrade("--set-string=settings.all.PYTHONHASHSEED=0")
        load.goes_on()
        shop.rollback()
    assert not load.errors, load.errors[:9]
    shop.comes_right()


def test_an_image_that_never_gets_ready_replaces_nothing(shop: Shop, render: Render) -> None:
    programs = list(of(render(VALUES), "Deployment"))
    deployments = [f"deployment/{name}" for name in programs]
    before = {name: shop.pods(name) for name in programs}
    with Load(shop) as load:
        shop.kubectl("set", "image", *deployments, "*=localhost/missing:1")
        until(lambda: shop.kubectl("get", "pods").count("ImagePullBackOff") >= len(programs), MANY_SECONDS)
        load.goes_on()
        assert {name: shop.pods(name) for name in programs} == before
        shop.kubectl("rollout", "undo", *deployments)
        for deployment in deployments:
            shop.kubectl("rollout", "status", deployment, f"--timeout={MANY_SECONDS}s")
    assert not load.errors, load.errors[:9]
    shop.comes_right()


def test_web_pods_come_and_go_with_the_load(shop: Shop) -> None:
    shop.upgrade("--set=web.autoscaling.enabled=true", "--set=web.autoscaling.maxReplicas=3")
    soon = '{"spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 15}}}}'
    shop.kubectl("patch", "hpa", "products-web", "--type=merge", f"--patch={soon}")
    with Load(shop) as calm:
        with Load(shop, lookers=20, buyers=0, pause=0) as load:
            until(lambda: len(shop.pods("products-web")) > 1, MANY_SECONDS)
            load.goes_on(bought=0)
        until(lambda: len(shop.pods("products-web")) == 1, MANY_SECONDS)
        calm.goes_on()
    assert not load.errors + calm.errors, (load.errors[:9], calm.errors[:9])
    # The number of pods is the autoscaler's by now.
    shop.rollback("--force-conflicts")
    shop.comes_right()


def test_memory_limits_hold_under_load(shop: Shop) -> None:
    with Load(shop, lookers=8, buyers=8, pause=0) as load:
        load.goes_on(looked=500, bought=200)
    assert not load.errors, load.errors[:9]
    statuses = [
        (pod["metadata"]["name"], status["lastState"].get("terminated", {}).get("reason"))
        for pod in shop.items("pods")
        for status in (*pod["status"]["containerStatuses"], *pod["status"].get("initContainerStatuses", ()))
    ]
    assert not [name for name, reason in statuses if reason == "OOMKilled"]
    shop.comes_right()
