"""Ten thousand open customers of a whole installation, at a rate that it carries; then one program is killed.

Open loop: requests start when the plan says, however slow the responses are, and latency counts from then (no coordinated
omission). Customers keep their connections open; a closed one is opened again.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from bench._measure import Series
from bench._shop import PASSWORD, Person, Recorder

ACCOUNTS = 50
TIMEOUT_SECONDS = 30.0
STEP_SECONDS = 10.0
RATES = (25, 50, 75, 100, 150, 200, 300, 400)
MAX_P99_MILLISECONDS = 500
"""What a rate must keep to count as carried."""

SHARE = 0.7
"""Of the highest carried rate, for the long run."""

SEED = 1
LOST = 0
"""In place of a status."""

console = Console(highlight=False, width=110)


@dataclass
class Account:
    email: str
    authorization: str


@dataclass
class Shop:
    products: list[str]
    accounts: list[Account]
    orders: list[tuple[str, Account]] = field(default_factory=list)


@dataclass(frozen=True)
class Wish:
    """A request: `route` names it in the table."""

    route: str
    method: str
    target: str
    account: Account | None = None
    body: bytes = b""


def mix(shop: Shop, chance: random.Random) -> list[tuple[float, Callable[[], Wish]]]:
    """What customers do, by weight."""

    def get(route: str, target: str = "", account: Account | None = None) -> Wish:
        return Wish(f"GET {route}", "GET", target or route, account)

    def someone() -> Account:
        return chance.choice(shop.accounts)

    def product() -> str:
        return chance.choice(shop.products)

    def search() -> Wish:
        word = chance.choice(("copper", "tea", "silk", "lamp", "bowl", "ket"))
        return get("/products/search", f"/products/search?q={word}")

    def log_in() -> Wish:
        body = json.dumps({"email": someone().email, "password": PASSWORD}).encode()
        return Wish("POST /users/login", "POST", "/users/login", None, body)

    def order() -> Wish:
        lines = [{"product_id": product(), "quantity": 1}]
        body = json.dumps({"lines": lines, "payment_method": "tok_success"}).encode()
        return Wish("POST /orders/", "POST", "/orders/", someone(), body)

    def look() -> Wish:
        if not shop.orders:
            return get("/orders/", account=someone())
        order_id, account = chance.choice(shop.orders)
        return get("/orders/{order_id}", f"/orders/{order_id}", account)

    return [
        (30, lambda: get("/products/", "/products/?limit=20")),
        (30, lambda: get("/products/{product_id}", f"/products/{product()}")),
        (12, search),
        (5, lambda: get("/products/categories")),
        (5, lambda: get("/products/{product_id}/recommendations", f"/products/{product()}/recommendations")),
        (6, look),
        (4, lambda: get("/orders/", account=someone())),
        (4, lambda: get("/users/me", account=someone())),
        (3, order),
        (1, log_in),
    ]


class Connection(asyncio.Protocol):
    """One customer's, for one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._response: asyncio.Future[tuple[int, bytes]] | None = None

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def request(self, data: bytes) -> tuple[int, bytes]:
        """Status and body. Raises ConnectionError."""
        assert self._transport is not None
        self._buffer, self._response = b"", asyncio.get_running_loop().create_future()
        self._transport.write(data)
        return await self._response

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports are not registered as asyncio's

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or self._response is None or self._response.done():
            return
        head = self._buffer[:end].lower()
        body = self._buffer[end + 4 :]
        place = head.find(b"content-length:")
        if place >= 0:
            is_whole = len(body) >= int(head[place + 15 :].split(b"\r\n", 1)[0])
        else:
            is_whole = b"transfer-encoding: chunked" not in head or body.endswith(b"0\r\n\r\n")
        if is_whole:
            self._response.set_result((int(head[9:12]), body))

    def connection_lost(self, error: Exception | None) -> None:
        if self._response is not None and not self._response.done():
            self._response.set_exception(ConnectionError(repr(error)))


class Customers:
    def __init__(self, shop: Shop, count: int) -> None:
        url = urlsplit(os.environ["SOUK_BENCH_GATEWAY_URL"])
        self._host, self._port = url.hostname or "", url.port or 80
        self._shop = shop
        self._idle = [Connection() for _ in range(count)]
        self._chance = random.Random(SEED)
        weighted = mix(shop, self._chance)
        self._weights, self._wishes = [each[0] for each in weighted], [each[1] for each in weighted]
        self.reopened = 0

    async def open(self) -> None:
        """All connections, each with a first request: the gateway closes silent ones."""
        for start in range(0, len(self._idle), 100):
            first = Wish("", "GET", "/users/.well-known/jwks.json")
            await asyncio.gather(*(self._send(each, first) for each in self._idle[start : start + 100]))

    @property
    def open_count(self) -> int:
        return sum(each.is_open for each in self._idle)

    async def run(self, rate: float, seconds: float, recorder: Recorder) -> None:
        """`rate`: requests a second, at random moments (Poisson)."""
        loop = asyncio.get_running_loop()
        due, end = loop.time(), loop.time() + seconds
        running: set[asyncio.Task[None]] = set()
        while (due := due + self._chance.expovariate(rate)) < end:
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not self._idle:
                recorder.add("no customer is free", 0.0, LOST)
                continue
            # Whoever is idle, at random.
            place = self._chance.randrange(len(self._idle))
            self._idle[place], self._idle[-1] = self._idle[-1], self._idle[place]
            [make] = self._chance.choices(self._wishes, self._weights)
            task = loop.create_task(self._one(self._idle.pop(), make(), due, recorder))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)

    async def _one(self, connection: Connection, wish: Wish, due: float, recorder: Recorder) -> None:
        status, body = LOST, b""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                status, body = await self._send(connection, wish)
        except (OSError, TimeoutError):
            connection.close()
        milliseconds = (asyncio.get_running_loop().time() - due) * 1_000
        recorder.add(wish.route, milliseconds, status)
        if status == 201 and wish.account is not None:
            self._shop.orders.append((json.loads(body)["id"], wish.account))
            del self._shop.orders[:-1_000]
        self._idle.append(connection)

    async def _send(self, connection: Connection, wish: Wish) -> tuple[int, bytes]:
        """Repeats what met a connection that the gateway was closing: each request may be."""
        lines = [f"{wish.method} {wish.target} HTTP/1.1", f"Host: {self._host}:{self._port}"]
        if wish.account is not None:
            lines.append(f"Authorization: {wish.account.authorization}")
        if wish.method == "POST":
            lines += ["Content-Type: application/json", f"Content-Length: {len(wish.body)}"]
            lines.append(f"Idempotency-Key: {uuid.uuid4().hex}")
        data = "\r\n".join([*lines, "", ""]).encode() + wish.body
        was_open = connection.is_open
        if not was_open:
            await self._connect(connection)
        try:
            return await connection.request(data)
        except ConnectionError:
            if not was_open:
                raise
        await self._connect(connection)
        return await connection.request(data)

    async def _connect(self, connection: Connection) -> None:
        self.reopened += 1
        await asyncio.get_running_loop().create_connection(lambda: connection, self._host, self._port)


def main() -> None:
    parser = argparse.ArgumentParser(prog="./souk bench users", description=__doc__)
    parser.add_argument("--customers", type=int, default=10_000, help="open connections (10000)")
    parser.add_argument("--seconds", type=float, default=60, help="of the long run (60)")
    parser.add_argument("--rate", type=float, default=0, help=f"requests a second; else {SHARE:.0%} of what is carried")
    parser.add_argument("--kill", default="products-web", help="the program killed in the last run (products-web)")
    given = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    shop = _prepare()
    uvloop.run(_run(shop, given))


def _prepare() -> Shop:
    admin = Person(Recorder()).register().promote()
    listed = admin.call("GET", "/products/", query="?limit=100")["items"]
    for product in listed:
        adjustment = {"quantity": 100_000, "reason": "for the benchmark"}
        admin.call("POST", "/products/{product_id}/stock-adjustments", adjustment, product_id=product["id"])
    people = [Person(Recorder()).register().log_in() for _ in range(ACCOUNTS)]
    accounts = [Account(person.email, person.headers["Authorization"]) for person in people]
    return Shop([product["id"] for product in listed], accounts)


async def _run(shop: Shop, given: argparse.Namespace) -> None:
    customers = Customers(shop, given.customers)
    await customers.open()
    console.print(f"{customers.open_count:,} customers have open connections.")
    rate = given.rate or await _carried(customers) * SHARE
    recorder = Recorder()
    before = _processor_seconds()
    await customers.run(rate, given.seconds, recorder)
    used = _processor_seconds() - before
    _show(f"{rate:.0f} requests a second for {given.seconds:.0f} s", recorder)
    console.print(
        f"{used / given.seconds:.2f} of {os.cpu_count()} cores used by the installation; "
        f"{customers.open_count:,} connections open at the end."
    )
    recorder = Recorder()
    killing = asyncio.get_running_loop().call_later(given.seconds / 3, _kill, given.kill)
    await customers.run(rate, given.seconds, recorder)
    killing.cancel()
    _show(f"The same, with {given.kill} killed after {given.seconds / 3:.0f} s", recorder)


async def _carried(customers: Customers) -> float:
    """The highest rate of RATES without errors and with a good p99."""
    carried = float(RATES[0])
    for rate in RATES:
        recorder = Recorder()
        await customers.run(rate, STEP_SECONDS, recorder)
        whole = _whole(recorder)
        errors = sum(_errors(statuses) for statuses in recorder.statuses.values())
        p99 = whole.percentile(99)
        console.print(f"{rate} requests a second: p50 {whole.percentile(50):.0f} ms, p99 {p99:.0f} ms, {errors} errors")
        if errors or p99 > MAX_P99_MILLISECONDS:
            break
        carried = rate
    return carried


def _kill(program: str) -> None:
    """With all its children, as a machine's end would."""
    pid = json.loads(os.environ["SOUK_BENCH_PROGRAMS"])[program]
    for process in _family(pid):
        process.send_signal(signal.SIGKILL)
    console.print(f"{time.strftime('%H:%M:%S')} {program} killed; the supervisor starts it again.")


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [*process.children(recursive=True), process]


def _processor_seconds() -> float:
    def spent() -> Iterator[float]:
        for pid in json.loads(os.environ["SOUK_BENCH_PROGRAMS"]).values():
            try:
                for process in _family(pid):
                    times = process.cpu_times()
                    yield times.user + times.system
            except psutil.NoSuchProcess:
                continue

    return sum(spent())


def _whole(recorder: Recorder) -> Series:
    return Series("", [each for series in recorder.series.values() for each in series.milliseconds])


def _errors(statuses: Counter[int]) -> int:
    return sum(count for status, count in statuses.items() if status >= 500 or status == LOST)


def _show(title: str, recorder: Recorder) -> None:
    table = Table("route", "requests", "errors", "p50 ms", "p99 ms", title=title, title_justify="left")
    everything = {"all": _whole(recorder), **recorder.series}
    recorder.statuses["all"] = sum(recorder.statuses.values(), Counter[int]())
    for route, series in sorted(everything.items(), key=lambda each: -len(each[1].milliseconds)):
        errors = _errors(recorder.statuses[route])
        numbers = (f"{series.percentile(percent):.1f}" for percent in (50, 99))
        table.add_row(route, f"{len(series.milliseconds):,}", str(errors), *numbers)
    console.print(table)
    statuses = sorted(recorder.statuses["all"].items())
    console.print(", ".join(f"{count:,} x {status or 'no response'}" for status, count in statuses))


if __name__ == "__main__":
    main()
