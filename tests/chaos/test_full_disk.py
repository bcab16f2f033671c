"""An installation on a small disk: full, it refuses writes and reads on; with space again, all comes back by itself."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher import running
from launcher.stack import Stack
from tests.chaos.lives import LIVES, TIMEOUT_SECONDS
from tests.chaos.truth import Truth
from tests.installation import Person, catalogue_of, installed, new_person, until
from tests.small_disk import fill, small_disk, with_all_data

MEGABYTES = 700
ROOM_BYTES = 60_000_000
"""Less than services want free, more than RabbitMQ wants."""

FULL_SECONDS = 20
RECOVERY_SECONDS = 180
ORDERS = 5
UNITS = 100
PAID = LIVES["paid"]

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="souk-disk-") as name, small_disk(Path(name) / "disk", MEGABYTES) as folder:
        yield folder


@pytest.fixture(scope="module")
def stack(disk: Path) -> Iterator[Stack]:
    with with_all_data(disk), installed(disk) as stack:
        yield stack


@pytest.fixture
def customer(stack: Stack) -> Person:
    return new_person(stack)()


@pytest.fixture(autouse=True)
def _room(disk: Path) -> Iterator[None]:
    yield
    empty(disk)


def leave(disk: Path, free_bytes: int) -> None:
    with open(disk / "ballast", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - free_bytes)


def empty(disk: Path) -> None:
    (disk / "ballast").unlink(missing_ok=True)


def comes_right(stack: Stack, product_id: str, orders: list[str]) -> None:
    Truth(stack).comes_right(UNITS, {product_id: dict.fromkeys(orders, PAID.expected)}, TIMEOUT_SECONDS)


@pytest.mark.parametrize("is_sudden", [False, True], ids=["slowly", "suddenly"])
def test_a_full_disk_stops_writes_only_and_all_comes_back_by_itself(
    stack: Stack, disk: Path, customer: Person, is_sudden: bool
) -> None:
    product_id = catalogue_of(stack)(UNITS)
    orders = [PAID.lead(customer, product_id) for _ in range(ORDERS)]
    reads = ["/users/me", "/orders/", f"/orders/{orders[0]}", f"/payments/user/{customer.id}"]
    # SecantusDB's engine stops at the first checkpoint that has no space.
    may_fail = ["/products/", f"/products/{product_id}"]

    def statuses(paths: list[str]) -> set[int]:
        return {customer.send("GET", path).status for path in paths}

    def refusal() -> tuple[int, str | None]:
        response = customer.try_order(product_id, f"full-{time.monotonic()}")
        return response.status, response.headers.get("Content-Type")

    assert statuses(reads + may_fail) == {200}
    supervisor = stack.supervisor.pid()
    if not is_sudden:
        leave(disk, ROOM_BYTES)
        until(lambda: refusal() == (507, "application/problem+json"))
        assert statuses(reads + may_fail) == {200}
        comes_to_rest(stack)
    fill(disk)
    end = time.monotonic() + FULL_SECONDS
    while time.monotonic() < end:
        assert refusal() == (507, "application/problem+json")
        assert statuses(reads) == {200}
        assert statuses(may_fail) <= {200, 503}
        assert stack.supervisor.pid() == supervisor
    assert running.readiness(stack)
    empty(disk)
    until(lambda: all(running.readiness(stack).values()), RECOVERY_SECONDS)
    orders.append(PAID.lead(customer, product_id))
    comes_right(stack, product_id, orders)


def comes_to_rest(stack: Stack) -> None:
    """Everything in the outboxes is sent, or waits for space."""
    count = [-1]

    def is_unchanged() -> bool:
        before, count[0] = count[0], shutil.disk_usage(stack.state.path).free // 1_000_000
        time.sleep(1)  # Between two looks.
        return before == count[0]

    until(is_unchanged)
