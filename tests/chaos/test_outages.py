"""An outage of a server, in the middle of many orders, costs none of them."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
import urllib3

from launcher.stack import Stack
from tests.chaos.lives import LIVES, TIMEOUT_SECONDS
from tests.chaos.truth import Truth
from tests.installation import Person, until

CUSTOMERS = 8
ORDERS_EACH = 25
OUTAGE_SECONDS = 10.0
CUTS = 5

Interrupt = Callable[[Stack], None]


def shop(customer: Person, product_id: str) -> list[str]:
    """Ids of the orders, placed one after the other."""
    return [LIVES["paid"].lead(customer, product_id) for _ in range(ORDERS_EACH)]


def outage(server: str) -> Interrupt:
    """Stops the server for OUTAGE_SECONDS."""

    def interrupt(stack: Stack) -> None:
        stack.supervisor.stop([server])
        time.sleep(OUTAGE_SECONDS)  # The outage itself, not a wait.
        stack.supervisor.restart(server)
        stack.wait_ready(server)

    return interrupt


def cut(stack: Stack) -> None:
    """Have RabbitMQ close all connections, several times, with messages in flight."""
    url = urlsplit(stack.url("rabbitmq"))
    api = f"http://127.0.0.1:{stack.installation.ports['rabbitmq-management']}/api/connections"
    headers = urllib3.make_headers(basic_auth=f"{url.username}:{url.password}")
    for _ in range(CUTS):
        found = urllib3.request("GET", api, headers=headers).json()
        for connection in found:
            urllib3.request("DELETE", f"{api}/{connection['name']}".replace(" ", "%20"), headers=headers)
        time.sleep(1)  # The pace of the cuts, not a wait.


INTERRUPTIONS = {
    "rabbitmq": outage("rabbitmq"),
    "postgres": outage("postgres"),
    "redis": outage("redis"),
    "mongo": outage("mongo"),
    "every connection to RabbitMQ": cut,
}


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", INTERRUPTIONS)
def test_an_outage_in_the_middle_of_many_orders_costs_none(
    stack: Stack, staff: Person, person: Callable[[], Person], product: Callable[[int], str], name: str
) -> None:
    staff.log_in()  # Together these tests outlast a token.
    units = ORDERS_EACH * LIVES["paid"].expected.quantity
    customers = [person() for _ in range(CUSTOMERS)]
    product_ids = [product(units) for _ in customers]
    with ThreadPoolExecutor(CUSTOMERS) as pool:
        orders = [pool.submit(shop, *each) for each in zip(customers, product_ids, strict=True)]
        until(lambda: Truth(stack).orders_of(customers[0].id) >= ORDERS_EACH // 5)
        INTERRUPTIONS[name](stack)
    ids = [each.result() for each in orders]
    assert sum(map(len, ids)) == CUSTOMERS * ORDERS_EACH
    endings = [dict.fromkeys(each, LIVES["paid"].expected) for each in ids]
    Truth(stack).comes_right(units, dict(zip(product_ids, endings, strict=True)), TIMEOUT_SECONDS)
