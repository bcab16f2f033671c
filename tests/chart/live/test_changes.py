"""Customers notice no change of a release, and no autoscaling; what cannot start replaces nothing."""

from collections.abc import Callable

from sqlalchemy import text

from launcher.kubernetes.chart import CHART
from launcher.state import REPOSITORY
from tests.chart.conftest import Render, of
from tests.chart.live.shop import MANY_SECONDS, VALUES, Load, Shop, truth, with_image
from tests.installation import until

MIGRATIONS = "services/payments/migrations/versions"
CURRENT = max(path.name for path in (REPOSITORY / MIGRATIONS).glob("*.py")).partition("_")[0]
NEXT = f'''"""How a payment came in."""

from alembic import op

revision = "9999"
down_revision = "{CURRENT}"


def upgrade() -> None:
    op.execute("ALTER TABLE payments ADD COLUMN channel text NOT NULL DEFAULT 'web'")
'''


def test_customers_notice_neither_an_upgrade_nor_a_rollback(shop: Shop, changed: Callable[[str, str], str]) -> None:
    """Old pods serve while the migration runs, and again after the rollback, which leaves the schema as it is."""
    image = changed(f"{MIGRATIONS}/9999_channel.py", NEXT)
    with Load(shop) as load:
        shop.upgrade(*with_image(image))
        load.goes_on()
        shop.rollback()
        load.goes_on()
    assert not load.errors, load.errors[:9]
    migrations = "app.kubernetes.io/name=payments,app.kubernetes.io/component=migrations"
    until(lambda: "a later release's (9999), and stays as it is" in shop.kubectl("logs", "--selector", migrations))
    shop.comes_right()
    with truth(shop) as found, found.connect("payments") as connection:
        # For a cluster that is kept.
        connection.execute(text("ALTER TABLE payments DROP COLUMN channel"))
        connection.execute(text("UPDATE alembic_version SET version_num = :current"), {"current": CURRENT})
        connection.commit()


def test_an_image_that_never_gets_ready_replaces_nothing(shop: Shop, render: Render) -> None:
    programs = list(of(render(VALUES), "Deployment"))
    before = {name: shop.pods(name) for name in programs}
    of_programs = "--selector=app.kubernetes.io/component notin (migrations, seed)"
    with Load(shop) as load:
        shop.helm("upgrade", "souk", CHART, "--reuse-values", *with_image("localhost/missing:1"))
        until(lambda: shop.kubectl("get", "pods", of_programs).count("ImagePullBackOff") >= len(programs), MANY_SECONDS)
        load.goes_on()
        assert {name: shop.pods(name) for name in programs} == before
        shop.rollback()
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
