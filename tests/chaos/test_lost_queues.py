"""RabbitMQ loses its queues with messages in them: `up` names them, `renew` makes them anew, and every order ends."""

from collections.abc import Iterator

import pytest

from chassis.messaging import broker
from launcher import queues, running
from launcher.errors import LaunchError
from launcher.stack import Stack
from tests.chaos.lives import LIVES, TIMEOUT_SECONDS
from tests.chaos.truth import Truth
from tests.installation import catalogue_of, installed, new_person, until
from tests.launcher.test_queues import lose_queues

ORDERS = 5
UNITS = 100
PAID = LIVES["paid"]

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Late replies are noticed, as in production."""
    with installed(tmp_path_factory.mktemp("lost"), SOUK_REPLY_GRACE_SECONDS="0") as running:
        yield running


def depth(stack: Stack, service: str) -> int:
    with broker.connect(stack.url("rabbitmq")) as connection:
        return broker.depth(connection.default_channel, service)


@pytest.mark.parametrize("receiver", ["products", "orders", "payments"])
def test_no_message_is_lost_with_its_queue(stack: Stack, receiver: str) -> None:
    customer, product_id = new_person(stack)(), catalogue_of(stack)(UNITS)
    stack.supervisor.stop(["products-worker"])
    orders = [PAID.lead(customer, product_id) for _ in range(ORDERS)]
    until(lambda: depth(stack, "products") >= ORDERS)
    if receiver != "products":
        # Its own relay is in its worker, too: commands first, then replies to them.
        stack.supervisor.stop([f"{receiver}-worker"])
        stack.supervisor.start_program("products-worker")
        until(lambda: depth(stack, receiver) >= ORDERS)
    until(Truth(stack).is_all_sent)
    lose_queues(stack)
    lost = queues.lost(stack.url("rabbitmq"))
    assert receiver in lost
    with pytest.raises(LaunchError, match=rf"{receiver}.*\./souk renew"):
        stack.up()
    assert customer.send("GET", "/products/").status == 200
    assert running.renew(stack)[0] == lost
    assert running.renew(stack) == ([], 0)
    assert stack.up() == []
    Truth(stack).comes_right(
        UNITS, {product_id: dict.fromkeys(orders, PAID.expected)}, TIMEOUT_SECONDS, may_repeat=True
    )
