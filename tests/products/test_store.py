"""MongoDB as the service's store: unsent messages, and what happens while the server is unavailable."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import urllib3

from chassis.base import telemetry, tracing
from chassis.messaging.relay import Relay
from chassis.storage import mongo
from contracts.stock import CommitStock, ReserveStock, StockCommitted, StockReserved
from services.products.models import Reservation
from tests.broker import sending_each
from tests.conftest import JWT_KEYS, server_url
from tests.mongo import FULL, READ_ONLY, TIMED_OUT, UNAUTHORIZED, WRITES, MongoWire
from tests.ports import free_port
from tests.products.conftest import envelope, stock

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 60


def send_one(products):
    """To a broker that is lost after it."""
    accepted = []

    def broken_after_one(envelope):
        if accepted:
            raise ConnectionError("The broker is unavailable.")
        accepted.append(envelope)

    with pytest.raises(ConnectionError):
        Relay(products.store.source, sending_each(broken_after_one)).send_batch()


def test_messages_the_broker_did_not_accept_are_sent_later(products, stocked, deliver, published):
    (cups,) = stocked(5)
    orders = [uuid4() for _ in range(3)]
    for order_id in orders:
        deliver(ReserveStock(order_id, {cups: 1}))
    send_one(products)
    assert telemetry.OLDEST_UNSENT._value.get() > 0
    assert published() == [StockReserved(order_id) for order_id in orders[1:]]
    assert published() == []
    assert telemetry.OLDEST_UNSENT._value.get() == 0


def test_the_second_message_of_a_document_outlives_the_first(products, stocked, deliver, published):
    (cups,) = stocked(5)
    order_id = uuid4()
    deliver(ReserveStock(order_id, {cups: 1}))
    deliver(CommitStock(order_id))
    send_one(products)
    assert published() == [StockCommitted(order_id)]


def test_a_handled_message_wakes_the_relay(products, stocked, deliver):
    (cups,) = stocked(5)
    arrived, stopping = threading.Event(), threading.Event()
    # Polling alone would take a minute.
    relay = Relay(products.store.source, sending_each(lambda _: arrived.set()), poll_seconds=60)
    thread = threading.Thread(target=relay.run, args=[stopping], daemon=True)
    thread.start()
    deliver(ReserveStock(uuid4(), {cups: 1}))
    assert arrived.wait(DEADLINE_SECONDS / 2)
    stopping.set()
    products.store.source.wake()
    thread.join(DEADLINE_SECONDS)
    assert not thread.is_alive()


def test_a_message_carries_the_trace_it_came_from(products, stocked, published, system):
    (cups,) = stocked(5)
    with tracing.trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", work="test"):
        Reservation.begin(uuid4(), {cups: 1}, timedelta(minutes=1)).confirm()
    outside = system(products)
    outside.drain()
    (sent,) = outside.sent
    assert sent.traceparent.split("-")[1] == "0af7651916cd43dd8448eb211c80319c"
    assert (sent.source, sent.type) == ("products", "stock.reserved")


RECEIVER = """
import sys
from chassis.run import worker
from services.products.app import service
for line in sys.stdin:
    print("verdict", worker.receive(service, line.encode(), {worker.ATTEMPT_HEADER: len(worker.DELAYS_MILLISECONDS)}), flush=True)
"""


def test_messages_wait_while_the_database_takes_no_writes(products, stocked):
    (cups,) = stocked(5)
    wire, url = MongoWire.to(products.settings.mongo_url)
    # A server that steps down says so to those that monitor it; the proxy does not.
    values = {"SOUK_MONGO_URL": f"{url}&serverMonitoringMode=poll", "SOUK_REDIS_URL": server_url("REDIS")}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", RECEIVER], cwd=ROOT, env={**os.environ, **values}, **pipes) as worker:

        def receive() -> str:
            worker.stdin.write(message)
            worker.stdin.flush()
            return next(line.split()[1] for line in worker.stdout if line.startswith("verdict"))

        message = f"{envelope(ReserveStock(uuid4(), {cups: 3})).to_json().decode()}\n"
        for error in (READ_ONLY, FULL, TIMED_OUT, UNAUTHORIZED):
            wire.refuse(WRITES, error)
            assert receive().startswith("Retry"), error
        assert stock(cups) == (5, 0, 0)
        wire.recover()
        assert receive() == "None"
        worker.stdin.close()
    wire.close()
    assert stock(cups) == (2, 3, 0)


@pytest.fixture(params=["refuses", "hangs"])
def unavailable(request) -> Iterator[str]:
    """The address of a MongoDB that is not there, or accepts connections and never responds."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if request.param == "hangs":
            server.listen()
        yield f"mongodb://127.0.0.1:{server.getsockname()[1]}/products"


def test_without_its_database_the_service_responds_503_soon(unavailable):
    port = free_port()
    values = {"SOUK_MONGO_URL": unavailable, "SOUK_PORT": str(port), "SOUK_JWT_KEYS": str(JWT_KEYS).replace("'", '"')}
    arguments = [sys.executable, "-m", "chassis", "web", "services.products"]
    process = subprocess.Popen(arguments, cwd=ROOT, env={**os.environ, **values}, stdout=subprocess.DEVNULL)
    try:
        base = f"http://127.0.0.1:{port}"
        retries = urllib3.Retry(total=60, backoff_factor=0.1, backoff_max=1)
        assert urllib3.request("GET", f"{base}/health/live", retries=retries, timeout=DEADLINE_SECONDS).status == 200
        for path in ("/products/", "/products/categories"):
            started = time.monotonic()
            response = urllib3.request("GET", base + path, retries=False, timeout=DEADLINE_SECONDS)
            assert time.monotonic() - started < mongo.OPERATION_TIMEOUT_MILLISECONDS / 1000 + 2
            assert response.status == 503
            assert response.headers["Content-Type"] == "application/problem+json"
            assert int(response.headers["Retry-After"]) > 0
        assert urllib3.request("GET", f"{base}/health/ready", retries=False, timeout=DEADLINE_SECONDS).status == 503
    finally:
        process.terminate()
        process.wait(DEADLINE_SECONDS)
