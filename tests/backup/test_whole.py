"""A machine is lost in the middle of orders: from the backups, every order that a customer was promised comes right."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
import urllib3
from cryptography.fernet import Fernet
from sqlalchemy import text

from launcher import processes
from launcher.backup import moment, place, vault
from launcher.backup.create import create, current_era
from launcher.backup.drill import prove
from launcher.backup.remote import SHIP_SECONDS
from launcher.backup.restore import OUTSIDE, restore
from launcher.backup.s3 import SCHEME
from launcher.backup.target import PROOF, VARIABLE, Target
from launcher.commands.restore import tell
from launcher.errors import LaunchError
from launcher.progress import PlainProgress
from launcher.servers import Postgres
from launcher.stack import Stack
from launcher.state import StateFolder
from tests import bucket as stand_in
from tests.chaos.lives import LIVES, QUANTITY, TIMEOUT_SECONDS
from tests.chaos.truth import Expected, Truth
from tests.installation import catalogue_of, edge_is_whole, installed, new_person, until

CUSTOMERS = 4
UNITS = 10_000
"""Of each product."""

SENDING_SECONDS = 10
"""From the moment that the growing segment is due in a bucket until it is there."""

ENOUGH = 40
"""Orders before and after something happens."""

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class Backups:
    where: str
    late_seconds: float
    """How long before the end a commit may be lost."""


@pytest.fixture(params=["folder", "bucket"])
def backups(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backups]:
    if request.param == "folder":
        # The log is received a moment after its commit, not with it.
        yield Backups(str(tmp_path / "backups"), 1)
        return
    store = stand_in.Store()
    store.client.create_bucket(Bucket="backups")
    stand_in.use(store, monkeypatch)
    yield Backups("s3://backups/shop", SHIP_SECONDS + SENDING_SECONDS)
    store.stop()


@pytest.fixture
def stack(tmp_path: Path, backups: Backups) -> Iterator[Stack]:
    given = {VARIABLE: backups.where, vault.KEY_VARIABLE: Fernet.generate_key().decode()}
    place.at(backups.where, StateFolder(tmp_path / "state"), {}).make()
    with installed(tmp_path, **given) as running:
        yield running


def opened(stack: Stack) -> Target:
    """As a command does."""
    return place.opened(stack.state, stack.installation.environment)


class Shop:
    """Customers who order one after the other, and the ids of the orders that they were promised."""

    def __init__(self, stack: Stack) -> None:
        self.customers = [new_person(stack)() for _ in range(CUSTOMERS)]
        sell = catalogue_of(stack)
        self.products = [sell(UNITS) for _ in self.customers]
        self.promised: list[dict[str, float]] = [{} for _ in self.customers]
        self._is_closed = threading.Event()

    @contextlib.contextmanager
    def rush(self) -> Iterator[None]:
        """During the block."""
        self._is_closed.clear()
        with ThreadPoolExecutor(CUSTOMERS) as pool:
            orders = [pool.submit(self._order, index) for index in range(CUSTOMERS)]
            try:
                yield
            finally:
                self._is_closed.set()
        for each in orders:
            each.result()

    def await_orders(self, count: int = ENOUGH) -> None:
        wanted = self.count() + count
        until(lambda: self.count() >= wanted)

    def count(self) -> int:
        return sum(map(len, self.promised))

    def lost(self, found: Stack) -> dict[str, float]:
        """When orders were promised that are not there."""
        there = {each for ids in self._orders(found) for each in ids}
        return {order: at for promised in self.promised for order, at in promised.items() if order not in there}

    def expected(self, found: Stack) -> dict[str, dict[str, Expected]]:
        """Of every order that is there: for the last ones no answer came."""
        endings = [dict.fromkeys(ids, LIVES["paid"].expected) for ids in self._orders(found)]
        return dict(zip(self.products, endings, strict=True))

    def _orders(self, found: Stack) -> list[list[str]]:
        """By customer."""
        with Truth(found).connect("orders") as connection:
            query = text("SELECT id FROM orders WHERE user_id = :id")
            return [[str(row.id) for row in connection.execute(query, {"id": each.id})] for each in self.customers]

    def _order(self, index: int) -> None:
        lines = [{"product_id": self.products[index], "quantity": QUANTITY}]
        body = {"lines": lines, "payment_method": "tok_success"}
        while not self._is_closed.is_set():
            try:
                placed = self.customers[index].send("POST", "/orders/", body, **{"Idempotency-Key": uuid4().hex})
            except urllib3.exceptions.HTTPError:
                return
            if placed.status == 201:
                self.promised[index][placed.json()["id"]] = time.time()


def lose(stack: Stack) -> None:
    """All processes at once, then all data but what is elsewhere in life."""
    while found := processes.find(stack.state.token):
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
    elsewhere = stack.state.path.with_name("elsewhere")
    elsewhere.mkdir()
    for name in OUTSIDE:
        (stack.state.data / name).rename(elsewhere / name)
    stack.state.wipe()
    stack.state.make()
    for name in OUTSIDE:
        (elsewhere / name).rename(stack.state.data / name)


def is_received(stack: Stack, target: Target) -> bool:
    postgres = stack.servers["postgres"]
    assert isinstance(postgres, Postgres)
    try:
        return bool(current_era(postgres, target))
    except LaunchError:
        return False


def test_no_order_is_lost_with_the_machine(stack: Stack, backups: Backups) -> None:
    target = opened(stack)
    until(lambda: is_received(stack, target))
    shop = Shop(stack)
    create(stack, target)
    with shop.rush():
        shop.await_orders()
        create(stack, target)
        shop.await_orders()
        lost_at = time.time()
        lose(stack)
    found = Stack(stack.state.path, standard_ports=False, bound=True, progress=PlainProgress())
    found.installation.environment = stack.installation.environment
    try:
        began, target = time.monotonic(), opened(found)
        restored = restore(found, target, moment.find(target, None))
        print(f"Restored in {time.monotonic() - began:.1f} s.")
        tell(restored)
        until(lambda: edge_is_whole(found))
        lost = shop.lost(found)
        print(f"{len(lost)} of {shop.count()} promised orders were lost.")
        assert all(at > lost_at - backups.late_seconds for at in lost.values())
        # Of a bucket's lost orders the bank knows, and of those for which no answer came.
        undecided = restored.agreement.for_a_person
        assert all("no payment here" in each for each in undecided)
        assert len(undecided) <= (len(lost) + CUSTOMERS if backups.where.startswith(SCHEME) else 0)
        Truth(found).comes_right(UNITS, shop.expected(found), TIMEOUT_SECONDS, may_repeat=True)
        assert [bool(each.parent) for each in target.eras()[-1].backups()] == [False]
        # The shop is open, for those who were here.
        shop.customers[0].url = found.gateway_url
        LIVES["paid"].lead(shop.customers[0].log_in(), shop.products[0])
        Truth(found).comes_right(UNITS, shop.expected(found), TIMEOUT_SECONDS, may_repeat=True)
    finally:
        found.down(wipe=True)


def test_a_drill_proves_the_last_backup_while_customers_order(stack: Stack, backups: Backups) -> None:
    target = opened(stack)
    until(lambda: is_received(stack, target))
    shop = Shop(stack)
    with shop.rush():
        shop.await_orders()
        made = create(stack, target)
        shop.await_orders()
        drill = prove(stack, target, None, PlainProgress())
    print(f"Recovery time {drill.recovery_time}, recovery point {drill.recovery_point}.")
    tell(drill.restored)
    assert drill.restored.is_right
    assert drill.recovery_point is not None
    assert drill.recovery_point.total_seconds() < backups.late_seconds
    assert json.loads((target.path / PROOF).read_text())["backup"] == made.name
