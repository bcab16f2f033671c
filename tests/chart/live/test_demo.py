"""Souk on a cluster, from nothing to a paid order; who reaches whom there; and nothing left of it in the end."""

import json
from typing import Any

import urllib3
import yaml

from launcher.kubernetes import place, secrets
from tests.chart.conftest import Render, of, values
from tests.chart.live.conftest import souk
from tests.chart.live.shop import MANY_SECONDS, VALUES, WAIT, Shop
from tests.chart.test_security import allowed
from tests.installation import until

CONNECT = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor

def passes(address):
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), 10).close()
        return True
    except OSError:
        return False

addresses = sys.argv[1:]
with ThreadPoolExecutor(len(addresses)) as pool:
    print(json.dumps([address for address, passed in zip(addresses, pool.map(passes, addresses)) if passed]))
"""

EVERY_NAMESPACES = {"configmap/kube-root-ca.crt", "serviceaccount/default"}


def servers() -> dict[str, Any]:
    found: dict[str, Any] = values("values/kind.yaml")["servers"]
    return found


def test_an_order_is_paid_through_the_edge(shop: Shop) -> None:
    assert "payment.captured" in shop.printed
    assert "placed to confirmed" in shop.printed


def test_the_edge_shows_the_shop(shop: Shop) -> None:
    response = urllib3.request("GET", f"{shop.url}/shop")
    assert (response.status, response.headers["Content-Type"]) == (200, "text/html; charset=utf-8")


def test_pods_reach_what_they_may_and_nothing_else(shop: Shop, render: Render) -> None:
    objects = render(VALUES)
    passing = allowed(objects, "egress", "to") & {
        (caller, callee) for callee, caller in allowed(objects, "ingress", "from")
    }
    ports = {name: f"{name}:{next(iter(server['ports'].values()))}" for name, server in servers().items()}
    # Its webs' own service names: users-web is users.
    targets = {name: f"{name.removesuffix('-web')}:8080" for name in of(objects, "Deployment") if name.endswith("-web")}
    targets |= ports
    for program in of(objects, "Deployment"):
        container = program.partition("-")[2] or program
        python = ("exec", f"deployment/{program}", "-c", container, "--", "/venv/bin/python", "-c", CONNECT)
        found = json.loads(shop.kubectl(*python, *targets.values()))
        assert {name for name, address in targets.items() if address in found} == {
            name for name in targets if (program, name) in passing
        }, program


def test_uninstalling_leaves_nothing_but_what_came_before(shop: Shop) -> None:
    """The Secrets; and the volumes, which clusters of ours do not have."""
    made = secrets.manifests(place.stack(shop.folder / "kubernetes", shop.environment))
    before = EVERY_NAMESPACES | {f"secret/{each['metadata']['name']}" for each in made}
    kinds = shop.kubectl("api-resources", "--namespaced", "--verbs=list,delete", "-o=name").split()
    listed = ",".join(kind for kind in kinds if not kind.startswith("events"))
    shop.helm("uninstall", "souk", *WAIT)
    until(lambda: set(shop.kubectl("get", listed, "-o=name").split()) == before, MANY_SECONDS)
    everywhere = shop.kubectl("api-resources", "--namespaced=false", "--verbs=list,delete", "-o=name").split()
    owned = yaml.safe_load(shop.kubectl("get", ",".join(everywhere), "-l=app.kubernetes.io/part-of=souk", "-o=yaml"))
    assert owned["items"] == []
    shop.sold.clear()
    with shop.without_node("n2"):
        assert "placed to confirmed" in souk("cluster", "demo", environment=shop.environment)
