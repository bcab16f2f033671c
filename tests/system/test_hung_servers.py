"""While a server hangs, every request gets a response in time; afterwards all goes on, and nothing is lost."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from launcher.stack import Stack
from tests.frozen import frozen
from tests.installation import Person, edge_is_whole, until

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

MAX_SECONDS = 17
"""A request's own limit is 9 s; the rest is for a busy machine. A repetition by the edge would take longer."""

ORDER_SECONDS = 2
"""Between orders: all that are placed must also be settled, on any machine."""

OK, REFUSED = {200, 201}, {503, 504}
EITHER = OK | REFUSED

EXPECTED = {
    "postgres": {"/products/": OK, "/users/me": REFUSED, "/orders/": REFUSED, "an order": REFUSED},
    # Products may be cached.
    "mongo": {"/products/": EITHER, "/users/me": OK, "/orders/": OK, "an order": EITHER},
    "redis": {"/products/": OK, "/users/me": OK, "/orders/": OK, "an order": OK},
    "redis-cache": {"/products/": OK, "/users/me": OK, "/orders/": OK, "an order": OK},
    "rabbitmq": {"/products/": OK, "/users/me": OK, "/orders/": OK, "an order": OK},
    "consul": {"/products/": OK, "/users/me": OK, "/orders/": OK, "an order": OK},
}


def timed(send: Callable[[], int]) -> tuple[int, float]:
    """Status and seconds."""
    began = time.monotonic()
    return send(), time.monotonic() - began


@pytest.mark.parametrize("min_seconds", [0, 20])
@pytest.mark.parametrize("server", EXPECTED)
def test_while_a_server_hangs_every_request_gets_a_response_in_time(
    stack: Stack, person: Callable[[], Person], product: Callable[[int], str], server: str, min_seconds: float
) -> None:
    customer, product_id = person(), product(100)
    orders = [customer.order(product_id)["id"]]
    keys: list[str] = []

    def an_order() -> int:
        keys.append(uuid4().hex)
        return customer.try_order(product_id, keys[-1]).status

    requests: dict[str, Callable[[], int]] = {
        path: lambda path=path: customer.send("GET", path).status  # type: ignore[misc]
        for path in ("/products/", "/users/me", "/orders/")
    }
    requests["an order"] = an_order
    for name in requests:
        assert requests[name]() in OK, name
    order_at = 0.0
    with ThreadPoolExecutor(len(requests)) as pool, frozen(stack, server):
        until_time = time.monotonic() + min_seconds
        while True:
            names = [name for name in requests if name != "an order" or order_at <= time.monotonic()]
            if "an order" in names:
                order_at = time.monotonic() + ORDER_SECONDS
            found = dict(zip(names, pool.map(timed, [requests[name] for name in names]), strict=True))
            wrong = {
                name: (status, seconds)
                for name, (status, seconds) in found.items()
                if status not in EXPECTED[server][name] or seconds > MAX_SECONDS
            }
            assert not wrong
            if time.monotonic() >= until_time:
                break
    until(lambda: edge_is_whole(stack))
    # With the same key a refused order is placed once.
    orders += [until(lambda key=key: placed(customer, product_id, key)) for key in keys]
    assert {customer.settled(order_id)["status"] for order_id in orders} == {"confirmed"}


def placed(customer: Person, product_id: str, key: str) -> str | None:
    """Its id, unless it was refused."""
    response = customer.try_order(product_id, key)
    return response.json()["id"] if response.status in OK else None
