"""Keys change in a cluster by its operator, while customers buy."""

from collections.abc import Iterator

import pytest

from operators.keyring.law import Step
from tests.chart.live.shop import MANY_SECONDS, Load, Shop
from tests.installation import Person, until
from tests.system.test_keys import Customer, key_of

KEYRING = "keyring/souk"


@pytest.fixture(scope="module")
def keyring(shop: Shop, operators: str) -> Iterator[None]:
    chosen = {
        "enabled": "true",
        "image": operators,
        # Which scalers ask, and here are none.
        "metricsUrl": "http://prometheus.monitoring:9090",
        "keyring.enabled": "true",
    }
    shop.upgrade(*(f"--set=operators.{name}={value}" for name, value in chosen.items()))
    until(lambda: has_loaded(shop, Step.DONE), MANY_SECONDS)
    yield
    shop.upgrade("--set=operators.enabled=false", "--set=operators.keyring.enabled=false")
    shop.kubectl("delete", "secret/souk-keyring")


def has_loaded(shop: Shop, step: Step) -> bool:
    """Whether it is this step's turn, and every pod has its keys."""
    status = '{.metadata.generation} {.status.observedGeneration} {.status.waitsFor} {.status.conditions[?(@.type=="Rotated")].reason}'
    generation, *found = shop.kubectl("get", KEYRING, f"-o=jsonpath={status}").split()
    return found == [generation, "0", step]


def test_stolen_keys_end_with_their_rotation_and_sessions_go_on(shop: Shop, keyring: None) -> None:
    person = Person(shop.url).sign_up()
    stolen = key_of(person)["kid"]
    with Load(shop, buyers=0) as load:
        shop.upgrade("--set=operators.keyring.rotation=1", "--set=operators.keyring.dropOld=true")
        until(lambda: has_loaded(shop, Step.DONE), 2 * MANY_SECONDS)
        load.goes_on(bought=0)
    assert not load.errors, load.errors[:9]
    assert person.send("GET", "/users/me").status == 401
    assert key_of(person.renew())["kid"] != stolen
    person.call("GET", "/users/me")


def test_a_rotation_refuses_nobody(shop: Shop, keyring: None) -> None:
    customer = Customer(Person(shop.url).sign_up())
    before = key_of(customer.person)["kid"]
    customer.start()
    try:
        with Load(shop) as load:
            shop.upgrade("--set=operators.keyring.rotation=2", "--set=operators.keyring.dropOld=false")
            until(lambda: has_loaded(shop, Step.EXPIRING), 2 * MANY_SECONDS)
            load.goes_on()
            new = Person(shop.url).sign_up()
            enough = customer.count + 20
            until(lambda: customer.count > enough)
    finally:
        customer.stopping.set()
        customer.join()
    assert customer.refused == []
    assert not load.errors, load.errors[:9]
    assert key_of(new)["kid"] != before == key_of(customer.person)["kid"]
    shop.comes_right()
