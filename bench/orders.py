"""Paid orders per second through a whole installation, and the time from placed to confirmed.

Baselines on the same servers: bare commits and confirmed publishes. A paid order takes about twenty of each, so it can reach
about a twentieth of their rate.
"""

import argparse
import os
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import cycle
from typing import Any

import psycopg2
import urllib3

from bench._measure import Series, measure, show
from chassis.base import clock
from chassis.messaging.envelope import Envelope
from chassis.messaging.publisher import Publisher

CLIENTS = 4
DEADLINE_SECONDS = 120
POLL_SECONDS = 0.02

_pool = urllib3.PoolManager(maxsize=CLIENTS * 2, retries=False, timeout=30)


class Customer:
    def __init__(self, gateway_url: str) -> None:
        self._url = gateway_url
        self._headers: dict[str, str] = {}
        name = f"bench.{uuid.uuid4().hex[:12]}"
        login = {"email": f"{name}@example.com", "password": f"A long one: {uuid.uuid4()}"}
        self.call("POST", "/users/register", {**login, "username": name, "first_name": "B", "last_name": "Ench"})
        self._headers = {"Authorization": f"Bearer {self.call('POST', '/users/login', login)['access_token']}"}

    def call(self, method: str, path: str, body: object = None) -> Any:
        headers = {**self._headers, "Idempotency-Key": uuid.uuid4().hex}
        response = _pool.request(method, self._url + path, json=body, headers=headers)
        if response.status >= 300:
            raise RuntimeError(f"{method} {path} returned {response.status}: {response.data.decode()[:300]}")
        return response.json()

    def order(self, product_id: str) -> str:
        lines = [{"product_id": product_id, "quantity": 1}]
        placed = self.call("POST", "/orders/", {"lines": lines, "payment_method": "tok_success"})
        order_id: str = placed["id"]
        return order_id

    def paid(self, order_id: str) -> float:
        """Milliseconds from placed to confirmed, by the service's clock."""
        until = time.monotonic() + DEADLINE_SECONDS
        while True:
            order = self.call("GET", f"/orders/{order_id}")
            if order["captured_amount"] == order["total_amount"]:
                placed, confirmed = (datetime.fromisoformat(order[name]) for name in ("created_at", "confirmed_at"))
                return (confirmed - placed).total_seconds() * 1_000
            if order["status"] == "cancelled" or time.monotonic() > until:
                raise RuntimeError(f"The order {order_id} is {order['status']}: {order['reason']}")
            time.sleep(POLL_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(prog="./souk bench orders", description=__doc__)
    parser.add_argument("--orders", type=int, default=200, help="orders per part (200)")
    count = parser.parse_args().orders
    customers = [Customer(os.environ["SOUK_BENCH_GATEWAY_URL"]) for _ in range(CLIENTS)]
    listed = customers[0].call("GET", "/products/?limit=100")["items"]
    products = cycle([product["id"] for product in listed if product["stock_quantity"] > 2 * count // len(listed) + 2])
    for customer in customers:
        customer.paid(customer.order(next(products)))
    ceilings = [measure("bare commit", _commit(), count), measure("confirmed publish", _publish(), count)]
    alone = _alone(customers[0], products, count // 4)
    together = _together(customers, products, count)
    show(
        "Paid orders (ms: from placed to confirmed)",
        [*ceilings, alone, together],
        [f"{count // 4} orders one after the other, then {count} orders by {CLIENTS} customers at once."],
    )


def _alone(customer: Customer, products: Any, count: int) -> Series:
    started = time.perf_counter()
    waited = [customer.paid(customer.order(next(products))) for _ in range(count)]
    return Series("paid orders, one at a time", waited, time.perf_counter() - started)


def _together(customers: list[Customer], products: Any, count: int) -> Series:
    """Timed until the last one is paid."""
    shares = [[next(products) for _ in range(count // len(customers))] for _ in customers]

    def shop(customer: Customer, wanted: list[str]) -> list[str]:
        return [customer.order(product_id) for product_id in wanted]

    def follow(customer: Customer, placed: list[str]) -> list[float]:
        return [customer.paid(order_id) for order_id in placed]

    with ThreadPoolExecutor(len(customers)) as pool:
        started = time.perf_counter()
        placed = list(pool.map(shop, customers, shares))
        waited = [each for of_one in pool.map(follow, customers, placed) for each in of_one]
        return Series(f"paid orders, {len(customers)} at once", waited, time.perf_counter() - started)


def _commit() -> Callable[[], object]:
    connection = psycopg2.connect(os.environ["SOUK_TEST_POSTGRES_URL"])
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE bench_commits (id uuid PRIMARY KEY, data jsonb NOT NULL)")
    return lambda: cursor.execute("INSERT INTO bench_commits VALUES (%s, '{}')", (str(uuid.uuid4()),))


def _publish() -> Callable[[], object]:
    """Unrouted, confirmed by the broker."""
    publisher = Publisher(os.environ["SOUK_TEST_BROKER_URL"])
    return lambda: publisher.publish(Envelope(uuid.uuid4(), "bench", "bench.nothing", "", clock.now(), {}))


if __name__ == "__main__":
    main()
