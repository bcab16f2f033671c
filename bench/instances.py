"""How throughput grows with a second instance of each service's programs: web, worker and celery, in turns with one.

Closed loop: it asks as fast as it is answered. All share the machine's cores, so that a second instance helps only where one
process was the limit; elsewhere what it costs is seen.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from rich.console import Console
from rich.table import Table

from bench._edges import free_port, program_of
from bench._load import Plan, drive
from bench.orders import Customer, Ends, products_of

CLIENTS = 8
READ_SECONDS = 5.0
PATH = "/products/?limit=20"

Round = dict[str, float]
"""Per second, by what was asked for."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="./souk bench instances", description=__doc__)
    parser.add_argument("--orders", type=int, default=160, help="orders in a turn (160)")
    parser.add_argument("--turns", type=int, default=3, help="of one instance, and of two (3)")
    given = parser.parse_args()
    customers = [Customer(os.environ["SOUK_BENCH_GATEWAY_URL"]) for _ in range(CLIENTS)]
    products = products_of(customers[0], given.orders * given.turns * 2 + CLIENTS)
    ends = Ends(json.loads(os.environ["SOUK_BENCH_DATABASES"]))
    ends.wait([customer.order(next(products)) for customer in customers])
    turns: dict[int, list[Round]] = {1: [], 2: []}
    for _ in range(given.turns):
        for count, rounds in turns.items():
            with _instances(count):
                rounds.append(_turn(customers, products, ends, given.orders))
    _show(turns)


@contextmanager
def _instances(count: int) -> Iterator[None]:
    state = Path(os.environ["SOUK_BENCH_STATE_DIR"])
    workers = sorted(chain(state.glob("programs/*-worker"), state.glob("programs/*-celery")))
    services = sorted({worker.name.partition("-")[0] for worker in workers})
    subprocess.run(
        [sys.executable, "-m", "launcher", "scale", *(f"{service}={count}" for service in services)],
        env={**os.environ, "SOUK_STATE_DIR": str(state)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    with ExitStack() as running:
        for worker in workers * (count - 1):
            port = free_port()
            script = re.sub(
                r"^export SOUK_PORT=.*$", f"export SOUK_PORT={port}", worker.read_text(), flags=re.MULTILINE
            )
            running.enter_context(program_of(port, ["/bin/sh", "-c", script]))
        yield


def _turn(customers: list[Customer], products: Iterator[str], ends: Ends, orders: int) -> Round:
    port = urlsplit(os.environ["SOUK_BENCH_GATEWAY_URL"]).port or 0
    read = drive(Plan(port, CLIENTS, READ_SECONDS, PATH))
    assert set(read.statuses) == {"200"}, read.statuses
    shares = [[next(products) for _ in range(orders // CLIENTS)] for _ in customers]
    started = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        placed = list(chain.from_iterable(pool.map(_shop, customers, shares)))
    taken = time.perf_counter() - started
    ends.wait(placed)
    return {
        PATH: len(read.milliseconds) / read.seconds,
        "orders placed": len(placed) / taken,
        "orders paid, mails sent": len(placed) / (time.perf_counter() - started),
    }


def _shop(customer: Customer, products: Iterable[str]) -> list[str]:
    return [customer.order(product_id) for product_id in products]


def _show(turns: Mapping[int, list[Round]]) -> None:
    table = Table("what", "one, per s", "two, per s", "ratio", title=f"Medians of turns on {psutil.cpu_count()} cores")
    for what in turns[1][0]:
        one, two = (statistics.median(each[what] for each in rounds) for rounds in turns.values())
        table.add_row(what, f"{one:.1f}", f"{two:.1f}", f"{two / one:.2f}")
    Console(highlight=False).print(table)


if __name__ == "__main__":
    main()
