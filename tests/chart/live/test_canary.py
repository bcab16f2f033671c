"""A release that errs or dawdles reaches a few customers and goes back by itself; one that does not takes over unnoticed."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from launcher.state import REPOSITORY
from operators.canary.objects import PORT, release_of
from operators.canary.rollout import Release
from tests.chart.conftest import Render, of
from tests.chart.live import metrics
from tests.chart.live.shop import MANY_SECONDS, VALUES, Load, Shop
from tests.installation import until

CANARY = "canary/products"
STEPS = (25, 50)
SPEC = {
    "strategy": "Canary",
    "steps": STEPS,
    "intervalSeconds": 20,
    # Customers here are few, and the machine is busy.
    "limits": {"minSamples": 10, "maxMoreSlowPercent": 40},
}

CODE = "services/products/api/products.py"
LIST = "        _check_allowed(query)\n\n        def page(finder: Finder) -> ProductPage:"
"""Where the list of products begins, before its cache."""

ASK = """
import http.client, sys, urllib.parse
url = urllib.parse.urlsplit(sys.argv[1])
connection = http.client.HTTPConnection(url.netloc, timeout=10)
connection.request("GET", f"{url.path}?{url.query}")
print(connection.getresponse().status)
"""

Make = Callable[[str, str], Release]


@dataclass
class Products:
    """A service with a Canary."""

    shop: Shop

    def get(self, resource: str) -> Any:
        return json.loads(self.shop.kubectl("get", resource, "-o=json"))

    def change(self, **spec: Any) -> None:
        self.shop.kubectl("patch", CANARY, "--type=merge", f"--patch={json.dumps({'spec': spec})}")

    def wants(self, release: Release) -> None:
        self.change(image=release.image, version=release.version)

    def running(self) -> Release:
        return release_of(self.get("deployment/products-web"))

    def comes_to(self, stage: str, release: Release) -> str:
        """Its reason."""

        def status() -> Any:
            found = self.get(CANARY)["status"]
            return found if (found["version"], found["stage"]) == (release.version, stage) else None

        why: str = until(status, MANY_SECONDS)["why"]
        return why

    def previewed(self) -> int:
        """Status of what the canary's pods answer, asked from the edge's."""
        [edge] = self.shop.pods("gateway")
        return int(self.shop.python(edge, ASK, f"http://products-canary:{PORT}/products/?limit=5"))

    def events(self, reason: str) -> list[str]:
        found = self.shop.items("events", f"--field-selector=involvedObject.kind=Canary,reason={reason}")
        return [each["message"] for each in found if each["involvedObject"]["name"] == "products"]

    def is_alone(self) -> bool:
        """Whether nothing of a canary is left."""
        found = self.shop.kubectl("get", "deployments,services,pods", "-o=name")
        return "products-web-canary" not in found and "products-canary" not in found


@pytest.fixture(scope="module")
def products(
    shop: Shop, render: Render, operators: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Products]:
    [pod_monitor] = of(render(VALUES, "monitoring.podMonitor=true"), "PodMonitor").values()
    chosen = {"enabled": "true", "image": operators, "metricsUrl": metrics.URL}
    with metrics.prometheus(shop.cluster, pod_monitor, operators, tmp_path_factory.mktemp("prometheus")):
        shop.upgrade(
            *(f"--set=operators.{name}={value}" for name, value in chosen.items()),
            f"--set-json=operators.canary={json.dumps(SPEC)}",
        )
        yield Products(shop)
        # Images are the Canaries' by now.
        off = ("--set=operators.enabled=false", "--set=operators.canary.strategy=")
        shop.upgrade(*off, "--force-conflicts")


@pytest.fixture
def make(changed: Callable[[str, str], str]) -> Make:
    """A release whose list of products begins with this line."""

    def release(version: str, line: str) -> Release:
        before = (REPOSITORY / CODE).read_text()
        assert before.count(LIST) == 1
        return Release(changed(CODE, before.replace(LIST, f"        {line}\n{LIST}")), version)

    return release


@pytest.fixture
def switched(products: Products) -> Iterator[Products]:
    """By blue-green, once somebody has looked."""
    products.change(strategy="BlueGreen", hold=True)
    yield products
    products.change(strategy="Canary", hold=False)


@pytest.mark.parametrize(
    ("version", "line", "status", "why"),
    [
        ("0.2.0-erring", 'raise RuntimeError("not this one")', 500, "failed"),
        ("0.2.0-slow", "import time; time.sleep(0.5)", 200, "were slow"),
    ],
)
def test_a_bad_release_gets_its_share_and_goes_back(
    products: Products, shop: Shop, make: Make, version: str, line: str, status: int, why: str
) -> None:
    bad, before = make(version, line), products.running()
    with Load(shop, lookers=4) as load:
        products.wants(bad)
        reason = products.comes_to("RolledBack", bad)
        errors = len(load.errors)
        load.goes_on()
    assert why in reason
    assert [message for message in products.events("RolledBack") if reason in message]
    assert products.running() == before
    until(products.is_alone, MANY_SECONDS)
    assert set(load.errors) <= {f"products: {status}"}
    # None after it had gone back.
    assert len(load.errors) == errors
    if status == 500:
        first, last = load.statuses.index(status), len(load.statuses) - load.statuses[::-1].index(status)
        met = load.statuses[first:last]
        assert met.count(status) / len(met) <= STEPS[0] / 100 + 0.05, (met.count(status), len(met))
    shop.comes_right()


def test_a_good_release_takes_over_and_nobody_notices(products: Products, shop: Shop, make: Make) -> None:
    good = make("0.2.0", "str()")
    with Load(shop, lookers=4) as load:
        products.wants(good)
        products.comes_to("Promoted", good)
        until(products.is_alone, MANY_SECONDS)
        load.goes_on()
    assert not load.errors, load.errors[:9]
    assert products.running() == good
    assert products.events("Judging")
    assert products.events("Promoted")
    shop.comes_right()


def test_a_bad_colour_is_looked_at_then_gets_all_requests_and_gives_them_back(
    switched: Products, shop: Shop, make: Make
) -> None:
    bad, before = make("0.3.0-erring", 'raise RuntimeError("not this one")'), switched.running()
    with Load(shop, lookers=4) as load:
        switched.wants(bad)
        switched.comes_to("Preview", bad)
        assert switched.previewed() == 500
        load.goes_on()
        assert not load.errors, load.errors[:9]
        switched.change(hold=False)
        assert "failed" in switched.comes_to("RolledBack", bad)
        errors = len(load.errors)
        load.goes_on()
    assert switched.running() == before
    until(switched.is_alone, MANY_SECONDS)
    assert {*load.errors} == {"products: 500"}
    # None after it had gone back.
    assert len(load.errors) == errors
    shop.comes_right()


def test_a_good_colour_takes_over_at_once_and_nobody_notices(switched: Products, shop: Shop, make: Make) -> None:
    good = make("0.3.0", "str()")
    with Load(shop, lookers=4) as load:
        switched.wants(good)
        switched.comes_to("Preview", good)
        assert switched.previewed() == 200
        switched.change(hold=False)
        switched.comes_to("Promoted", good)
        until(switched.is_alone, MANY_SECONDS)
        load.goes_on()
    assert not load.errors, load.errors[:9]
    assert switched.running() == good
    shop.comes_right()
