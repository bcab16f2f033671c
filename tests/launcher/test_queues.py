"""A queue that RabbitMQ has lost is named, made anew, and gets its messages again."""

import shutil
from collections.abc import Iterator

import pytest

from chassis.messaging import broker
from launcher import queues
from launcher.stack import Stack
from tests.installation import servers_alone


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with servers_alone(tmp_path_factory.mktemp("queues"), "rabbitmq") as running:
        yield running


def lose_queues(stack: Stack) -> None:
    """What a disk that is full at the wrong moment does: the log of each quorum queue is gone."""
    stack.supervisor.stop(["rabbitmq"])
    for log in (stack.state.data / "rabbitmq" / "base").glob("*/quorum/*/*"):
        if log.is_dir():
            shutil.rmtree(log)
    stack.supervisor.start_program("rabbitmq")
    stack.wait_ready("rabbitmq")


def test_a_lost_queue_is_found_and_can_be_declared_again(stack: Stack) -> None:
    url = stack.url("rabbitmq")
    for service in ("orders", "payments"):
        broker.declare(url, service, [f"{service}.greeted"])
    assert queues.lost(url) == []
    lose_queues(stack)
    assert queues.lost(url) == ["orders", "payments"]
    queues.delete_lost(url, "orders")
    broker.declare(url, "orders", ["orders.greeted"])
    assert queues.lost(url) == ["payments"]
    with broker.connect(url) as connection:
        # It was lost with them.
        connection.default_channel.basic_consume(broker.UNROUTED)
        connection.default_channel.queue_delete(broker.UNROUTED)
    assert queues.lost(url) == ["payments"]
