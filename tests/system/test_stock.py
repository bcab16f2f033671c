"""Stock under everything at once: a rush on few units while the worker is killed, and an unavailable database."""

import json
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
import urllib3

from chassis.discovery.watch import EMPTY_GRACE_SECONDS
from launcher.stack import Stack
from tests.installation import DEADLINE_SECONDS, ROOT, Person, mails_url, until

SignUp = Callable[[], Person]
Sell = Callable[[int], str]

PRODUCTS, UNITS, CUSTOMERS, ORDERS_EACH = 20, 5, 10, 20
KILLS = 4
SETTLING_SECONDS = 150
"""Longest that a customer's orders may take. Customers are polled one by one, to limit the load."""


def audited(stack: Stack) -> str:
    """What the audit of the whole stock prints. Raises AssertionError when it does not balance."""
    command, environment = stack.services.one_shot("products", "services.products.commands", "audit")
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def orders_of(person: Person) -> list[Any]:
    orders: list[Any] = person.call("GET", "/orders/?limit=100")["items"]
    return orders


def letters(stack: Stack, person: Person) -> Counter[str]:
    """Number of mails about confirmed and cancelled orders, by the last word of the subject."""
    url = f"{mails_url(stack)}?limit=100&to={person.email}"
    subjects = [mail["subject"] for mail in urllib3.request("GET", url).json()["items"]]
    return Counter(subject.split()[-1] for subject in subjects if "order" in subject)


def place(person: Person, product_id: str) -> str:
    """The id of the order. A 503 is retried with the same key."""
    key = uuid4().hex

    def tried() -> Any:
        response = person.try_order(product_id, key)
        assert response.status in (201, 503), (response.status, response.data)
        return json.loads(response.data)["id"] if response.status == 201 else None

    return str(until(tried, SETTLING_SECONDS))


@pytest.mark.long
@pytest.mark.timeout(300, func_only=True)
def test_in_a_rush_each_unit_is_sold_once_while_the_worker_is_killed_at_random(
    stack: Stack, staff: Person, person: SignUp, product: Sell, kill: Callable[[str], None]
) -> None:
    with ThreadPoolExecutor(4) as pool:
        products = list(pool.map(product, [UNITS] * PRODUCTS))
        people = list(pool.map(lambda _: person(), range(CUSTOMERS)))
    # Demand is twice the stock of every product, in random order.
    wishes = [(people[n % CUSTOMERS], products[n // CUSTOMERS]) for n in range(CUSTOMERS * ORDERS_EACH)]
    random.shuffle(wishes)
    all_settled = threading.Event()

    def kill_at_random() -> int:
        kills = 0
        while kills < KILLS and not all_settled.wait(random.uniform(0, 2)):
            kill("products-worker")
            kills += 1
        return kills

    with ThreadPoolExecutor(21) as pool:
        killing = pool.submit(kill_at_random)
        try:
            placed = list(pool.map(lambda wish: place(*wish), wishes))
            for each in people:
                until(
                    lambda each=each: all(order["status"] != "pending" for order in orders_of(each)), SETTLING_SECONDS
                )
        finally:
            all_settled.set()
        assert killing.result() > 1

    orders = {order["id"]: order for each in people for order in orders_of(each)}
    assert set(orders) == set(placed)
    sold = PRODUCTS * UNITS
    outcomes = Counter((order["status"], order["reason"]) for order in orders.values())
    assert outcomes == {("confirmed", None): sold, ("cancelled", "out_of_stock"): len(placed) - sold}
    stocks = [f"/products/{product_id}/stock" for product_id in products]
    until(lambda: {_units(staff.call("GET", path)) for path in stocks} == {(0, 0, UNITS)}, SETTLING_SECONDS)
    assert "Balanced." in audited(stack)
    for each in people:
        outcomes = Counter(order["status"] for order in orders_of(each))
        until(lambda each=each, outcomes=outcomes: letters(stack, each) == outcomes, SETTLING_SECONDS)


def _units(stock: Any) -> tuple[int, int, int]:
    return stock["on_hand"], stock["held"], stock["sold"]


@pytest.mark.long
@pytest.mark.timeout(240, func_only=True)
def test_while_the_stock_database_is_down_cached_reads_succeed_and_orders_wait(
    stack: Stack, staff: Person, person: SignUp, product: Sell
) -> None:
    leila, kettle, bowl = person(), product(5), product(5)
    cached = [f"/products/{kettle}", "/products/", "/products/search?q=kettle"]
    uncached = [f"/products/{bowl}", "/products/search?q=bowl"]
    stack.supervisor.stop(["products-worker"])
    placed = [leila.order(kettle)["id"] for _ in range(3)]
    for path in cached:
        leila.call("GET", path)
    stack.supervisor.stop(["mongo"])
    down_since = time.monotonic()
    try:
        stack.supervisor.restart("products-worker")
        for program in ("products-worker", "products-web"):
            until(lambda program=program: _readiness(stack, program) == 503)
        # Longer than a caller keeps using the last ready instances.
        while time.monotonic() < down_since + 1.5 * EMPTY_GRACE_SECONDS:
            for path in cached:
                leila.call("GET", path)
            for path in uncached:
                _expect_unavailable(leila.send("GET", path))
            _expect_unavailable(staff.send("GET", f"/products/{kettle}/stock"))
        assert {leila.call("GET", f"/orders/{order_id}")["status"] for order_id in placed} == {"pending"}
    finally:
        stack.supervisor.restart("mongo")
        stack.wait_ready("mongo")
    stack.wait_ready("products-worker")
    assert {leila.settled(order_id)["status"] for order_id in placed} == {"confirmed"}
    until(lambda: _units(staff.call("GET", f"/products/{kettle}/stock")) == (2, 0, 3))
    assert "Balanced." in audited(stack)


def _expect_unavailable(response: urllib3.BaseHTTPResponse) -> None:
    assert (response.status, int(response.headers["Retry-After"]) > 0) == (503, True)
    assert json.loads(response.data)["type"] == "/problems/unavailable"


def _readiness(stack: Stack, program: str) -> int:
    """Status of its readiness endpoint; 0 while it does not listen."""
    try:
        return urllib3.request("GET", stack.services.health_url(program), retries=False, timeout=10).status
    except urllib3.exceptions.HTTPError:
        return 0
