"""A name for queues of a test's own, and what publishes to them."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from chassis.messaging import broker
from chassis.messaging.publisher import Publisher
from tests.conftest import server_url


@pytest.fixture
def name() -> Iterator[str]:
    """A service name of this test's own, whose queues are deleted after it."""
    service = f"test-{uuid4().hex[:8]}"
    yield service
    with broker.connect(server_url("BROKER")) as connection:
        channel = connection.default_channel
        delays = [broker.delay_queue(service, milliseconds).name for milliseconds in broker.DELAYS_MILLISECONDS]
        for queue in (service, broker.dead_letter_queue(service).name, *delays):
            channel.queue_delete(queue)


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    opened = Publisher(server_url("BROKER"))
    yield opened
    opened.close()
