"""The least that a paid order costs: its commits and confirmed messages, one by one, with nothing between."""

import json
import os
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import amqp
import psycopg2

from bench import _processors

COMMITS, MESSAGES = 24, 12
WARM_UP = 3


def cost(orders: int, programs: Mapping[str, int]) -> dict[str, float]:
    """Milliseconds of processor time per order: postgres, rabbitmq and this client."""
    database, (channel, take) = psycopg2.connect(os.environ["SOUK_TEST_POSTGRES_URL"]), _queue()
    database.autocommit = True
    cursor = database.cursor()
    cursor.execute("CREATE TABLE bench_bare (id uuid PRIMARY KEY, data jsonb NOT NULL, at timestamptz DEFAULT now())")
    body = json.dumps(
        {"id": str(uuid.uuid4()), "data": {"lines": [{"product_id": str(uuid.uuid4()), "name": "x" * 20}]}}
    )

    def order() -> None:
        for number in range(COMMITS):
            cursor.execute("INSERT INTO bench_bare (id, data) VALUES (%s, %s)", (str(uuid.uuid4()), body))
            if number < MESSAGES:
                channel.basic_publish_confirm(amqp.Message(body, delivery_mode=2), exchange="", routing_key=QUEUE)
                take()

    servers = {name: programs[name] for name in ("postgres", "rabbitmq")}
    for _ in range(WARM_UP):
        order()
    before, client = _processors.used(servers), time.process_time()
    for _ in range(orders):
        order()
    after, client = _processors.used(servers), time.process_time() - client
    cursor.execute("DROP TABLE bench_bare")
    channel.queue_delete(QUEUE)
    spent = {**{name: after[name] - before[name] for name in servers}, "client": client}
    return {name: seconds * 1_000 / orders for name, seconds in spent.items()}


QUEUE = "bench.bare"


def _queue() -> tuple[Any, Callable[[], None]]:
    """A channel that confirms, and a function that consumes and acknowledges one message."""
    url = urlsplit(os.environ["SOUK_TEST_BROKER_URL"])
    login = {"userid": url.username, "password": url.password, "virtual_host": url.path[1:] or "/"}
    sender, receiver = (amqp.Connection(f"{url.hostname}:{url.port}", confirm_publish=True, **login) for _ in range(2))
    sender.connect()
    receiver.connect()
    sending, receiving = sender.channel(), receiver.channel()
    sending.queue_declare(QUEUE, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
    receiving.basic_qos(0, 16, False)
    arrived: list[amqp.Message] = []
    receiving.basic_consume(QUEUE, callback=arrived.append)

    def take() -> None:
        while not arrived:
            receiver.drain_events(timeout=30)
        receiving.basic_ack(arrived.pop().delivery_tag)

    return sending, take
