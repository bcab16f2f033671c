"""Processor time of a paid order whose mail is sent, per program, beside the least it can cost on the same servers.

The least: 24 commits, and 12 messages published with a confirm, consumed and acknowledged one by one. Programs also work
without orders; what they use then is measured first, shown, and not counted.
"""

import argparse
import json
import os
import select
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from typing import Any

import psycopg2
import urllib3
from rich.console import Console
from rich.table import Table

from bench import _bare_saga, _processors
from bench._measure import Series, show

CLIENTS = 4
IDLE_SECONDS = 10
DEADLINE_SECONDS = 120
SPINNING = frozenset({"rabbitmq"})
"""Erlang's schedulers spin only while they have nothing to do: all that they use counts, as in the least."""

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


class Ends:
    """Notified by triggers when an order has no open step, and when its mail is sent."""

    _TRIGGERS: Mapping[str, tuple[str, str, str]] = {
        "orders": ("orders", "NEW.due_at IS NULL AND NEW.captured_amount = NEW.total_amount", "NEW.id"),
        "notifications": ("notifications", "NEW.status = 'sent' AND NEW.kind = 'order.confirmed'", "NEW.subject_id"),
    }

    def __init__(self, databases: Mapping[str, str]) -> None:
        self._ended: dict[Any, set[str]] = {
            self._listen(databases[name], *trigger): set() for name, trigger in self._TRIGGERS.items()
        }

    def _listen(self, url: str, table: str, condition: str, order_id: str) -> Any:
        connection = psycopg2.connect(url)
        connection.autocommit = True
        connection.cursor().execute(
            "CREATE FUNCTION bench_ended() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN PERFORM pg_notify('bench', {order_id}::text); RETURN NULL; END $$;"
            f" CREATE TRIGGER bench AFTER UPDATE ON {table} FOR EACH ROW WHEN ({condition})"
            " EXECUTE FUNCTION bench_ended(); LISTEN bench"
        )
        return connection

    def wait(self, order_ids: Iterable[str]) -> None:
        """Raises TimeoutError."""
        missing = {order_id for order_id in order_ids if not self._has_ended(order_id)}
        until = time.monotonic() + DEADLINE_SECONDS
        while missing:
            readable, _, _ = select.select(list(self._ended), [], [], max(0.0, until - time.monotonic()))
            if not readable:
                raise TimeoutError(f"{len(missing)} orders are not settled after {DEADLINE_SECONDS} s.")
            for connection in readable:
                connection.poll()
                self._ended[connection].update(notice.payload for notice in connection.notifies)
                connection.notifies.clear()
            missing = {order_id for order_id in missing if not self._has_ended(order_id)}

    def _has_ended(self, order_id: str) -> bool:
        return all(order_id in ended for ended in self._ended.values())


def main() -> None:
    parser = argparse.ArgumentParser(prog="./souk bench orders", description=__doc__)
    parser.add_argument("--orders", type=int, default=200, help=f"orders by {CLIENTS} customers at once (200)")
    parser.add_argument("--alone", type=int, default=40, help="orders one after the other (40)")
    given = parser.parse_args()
    programs: dict[str, int] = json.loads(os.environ["SOUK_BENCH_PROGRAMS"])
    databases: dict[str, str] = json.loads(os.environ["SOUK_BENCH_DATABASES"])
    customers = [Customer(os.environ["SOUK_BENCH_GATEWAY_URL"]) for _ in range(CLIENTS)]
    products = products_of(customers[0], given.orders + given.alone + CLIENTS)
    ends = Ends(databases)
    ends.wait([customer.order(next(products)) for customer in customers])
    idle = _idle(programs)
    bare = _bare_saga.cost(given.alone, programs)
    alone = _alone(customers[0], products, given.alone, ends, programs)
    together = _together(customers, products, given.orders, ends, programs)
    again = _bare_saga.cost(given.alone, programs)
    limit = {name: (bare[name] + again[name]) / 2 for name in bare}
    _show(limit, idle, {"one at a time": alone, f"{CLIENTS} customers at once": together})


class Part:
    """`spent`: seconds of processor time by program."""

    def __init__(self, orders: int, programs: Mapping[str, int]) -> None:
        self.orders, self._programs = orders, programs
        self.milliseconds: list[float] = []

    def __enter__(self) -> "Part":
        self._before, self._began = _processors.used(self._programs), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._began
        after = _processors.used(self._programs)
        self.spent = {name: after[name] - self._before[name] for name in after}

    def per_order(self, name: str, idle: Mapping[str, float]) -> float:
        """Milliseconds."""
        unrelated = 0.0 if name in SPINNING else idle[name] * self.seconds
        return max(0.0, self.spent[name] - unrelated) * 1_000 / self.orders


def products_of(customer: Customer, count: int) -> Iterator[str]:
    """Ids, without end: all have stock for `count` orders together."""
    listed = customer.call("GET", "/products/?limit=100")["items"]
    return cycle([product["id"] for product in listed if product["stock_quantity"] > 2 * count // len(listed) + 2])


def _idle(programs: Mapping[str, int]) -> dict[str, float]:
    """Seconds of processor time per second."""
    with Part(1, programs) as part:
        time.sleep(IDLE_SECONDS)
    return {name: seconds / part.seconds for name, seconds in part.spent.items()}


def _alone(customer: Customer, products: Iterator[str], count: int, ends: Ends, programs: Mapping[str, int]) -> Part:
    with Part(count, programs) as part:
        for _ in range(count):
            began = time.perf_counter()
            ends.wait([customer.order(next(products))])
            part.milliseconds.append((time.perf_counter() - began) * 1_000)
    return part


def _together(
    customers: list[Customer], products: Iterator[str], count: int, ends: Ends, programs: Mapping[str, int]
) -> Part:
    shares = [[next(products) for _ in range(count // len(customers))] for _ in customers]

    def shop(customer: Customer, wanted: list[str]) -> list[tuple[str, float]]:
        return [(customer.order(product_id), time.perf_counter()) for product_id in wanted]

    with ThreadPoolExecutor(len(customers)) as pool, Part(sum(map(len, shares)), programs) as part:
        placed = [each for of_one in pool.map(shop, customers, shares) for each in of_one]
        for order_id, at in placed:
            ends.wait([order_id])
            part.milliseconds.append((time.perf_counter() - at) * 1_000)
    return part


def _show(limit: Mapping[str, float], idle: Mapping[str, float], parts: Mapping[str, Part]) -> None:
    show(
        "Until its mail is sent and no step is open",
        [Series(name, p.milliseconds, p.seconds) for name, p in parts.items()],
    )
    least = sum(limit.values())
    table = Table("program", *parts, "idle, per s", title="Processor time per paid order (ms)", title_justify="left")
    spent = {program: [part.per_order(program, idle) for part in parts.values()] for program in idle}
    for program in sorted(spent, key=lambda program: -spent[program][-1]):
        if max(spent[program]) >= 0.05:
            table.add_row(program, *(f"{each:.2f}" for each in spent[program]), f"{idle[program] * 1_000:.1f}")
    sums = [sum(column) for column in zip(*spent.values(), strict=True)]
    table.add_section()
    table.add_row("all", *(f"{each:.1f}" for each in sums), f"{sum(idle.values()) * 1_000:.0f}")
    table.add_row("least", *[f"{least:.1f}"] * len(parts))
    table.add_row("ratio", *(f"{each / least:.2f}" for each in sums))
    console = Console(highlight=False)
    console.print(table)
    of = ", ".join(f"{name} {milliseconds:.1f}" for name, milliseconds in limit.items())
    console.print(
        f"Least: {_bare_saga.COMMITS} commits and {_bare_saga.MESSAGES} messages published with a confirm, consumed and"
        f" acknowledged, one by one ({of} ms). What programs use when idle is not counted."
    )


if __name__ == "__main__":
    main()
