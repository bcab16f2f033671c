"""A whole installation as `./souk up --mesh` starts it: every call between services passes its proxies."""

import shutil
from collections.abc import Iterator
from uuid import uuid4

import pytest

from launcher import mesh, running
from launcher.manifests import CALLS
from launcher.services import sidecar_of, with_proxies
from launcher.stack import Stack
from tests.installation import Person, catalogue_of, installed, new_person, until
from tests.launcher.test_mesh import decide

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with installed(tmp_path_factory.mktemp("mesh"), meshed=True) as running:
        yield running


@pytest.fixture(scope="module")
def product(stack: Stack) -> str:
    return catalogue_of(stack)(100)


@pytest.fixture(scope="module")
def leila(stack: Stack) -> Person:
    return new_person(stack)()


def buys(leila: Person, product: str) -> bool:
    order = leila.order(product)
    return leila.settled(order["id"])["status"] == "confirmed"


def test_an_order_is_paid_where_services_reach_each_other_through_the_mesh_only(
    stack: Stack, leila: Person, product: str
) -> None:
    assert {name for name in stack.supervisor.statuses() if mesh.is_proxy(name)} == {f"{name}-proxy" for name in CALLS}
    assert buys(leila, product)
    assert all(running.readiness(stack).values())


def test_a_denied_call_is_a_503_with_its_reason_until_it_is_allowed_again(
    stack: Stack, leila: Person, product: str
) -> None:
    decide(stack, "orders", "products", "deny")
    # Connections that are open stay so; orders-web's go with it.
    running.restart(stack, "orders-web")
    until(lambda: leila.send("GET", "/orders/").status == 200)
    refused = leila.try_order(product, uuid4().hex)
    assert refused.status == 503
    assert refused.json()["type"] == "/problems/unavailable"
    assert refused.headers["Retry-After"]
    assert leila.send("GET", f"/products/{product}").status == 200
    decide(stack, "orders", "products", "allow")
    until(lambda: leila.try_order(product, uuid4().hex).status == 201)


def test_instances_come_and_go_with_their_proxies(stack: Stack, leila: Person, product: str) -> None:
    running.scale(stack, "products", 2)
    assert {"products-web-2", "products-proxy-2", "products-sidecar-2"} <= stack.supervisor.statuses().keys()
    stack.supervisor.stop([sidecar_of("products-web")])
    assert buys(leila, product)
    stack.supervisor.start_program(sidecar_of("products-web"))
    running.scale(stack, "products", 1)
    assert "products-proxy-2" not in stack.supervisor.statuses()
    assert buys(leila, product)


def test_a_consul_that_lost_everything_is_a_mesh_again(stack: Stack, leila: Person, product: str) -> None:
    stack.supervisor.stop(["consul"])
    shutil.rmtree(stack.state.data / "consul")
    stack.supervisor.start_program("consul")
    stack.wait_ready("consul")
    until(lambda: leila.send("GET", f"/products/{product}").status == 200)
    until(lambda: leila.try_order(product, uuid4().hex).status == 201)


def test_without_the_mesh_proxies_go(stack: Stack, leila: Person, product: str) -> None:
    stack.installation.is_meshed = False
    stack.up()
    assert not [name for name in stack.supervisor.statuses() if mesh.is_proxy(name)]
    assert {mesh.proxy_of(name) for name in with_proxies({})}.isdisjoint(stack.installation.ports)
    until(lambda: leila.send("GET", f"/products/{product}").status == 200)
    assert buys(leila, product)
