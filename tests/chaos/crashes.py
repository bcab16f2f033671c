"""Kills one program at one point of an order's life, and looks whether all is right once it is back."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chassis.base import failpoints
from chassis.messaging.publisher import PROBE
from launcher.errors import LaunchError
from launcher.stack import Stack
from tests.chaos.lives import LIVES, TIMEOUT_SECONDS
from tests.chaos.truth import Truth
from tests.installation import FAILPOINTS_VARIABLE, Person, catalogue_of, until

RECEIVED = 10

QUIET_SECONDS = 1
"""A life is over once it passes no point for this long."""

MAIL_PASSINGS = {"commit": 2, "committed": 2}
"""However many mails leave together: one transaction takes them, and one settles them."""

_BAD = ("NOT PASSED", "WRONG")


def is_bad(outcome: str) -> bool:
    return outcome.startswith(_BAD)


@dataclass(frozen=True, order=True)
class Point:
    life: str
    name: str
    """As `chassis.base.failpoints` writes it: `<program>: <work>: <what>`."""

    passing: int = 1
    """Which time the life passes the point, from 1."""

    @property
    def title(self) -> str:
        return self.name + (f", passing {self.passing}" if self.passing > 1 else "")

    @property
    def program(self) -> str:
        return self.name.partition(":")[0]

    @property
    def is_of_the_money_path(self) -> bool:
        """Every commit by which money moves: placing an order, at the provider, and through messages about payments."""
        _, work, what = self.name.split(": ")
        return what in ("commit", "committed") and ("payment" in work or work == "POST /orders/")


class Crashes:
    def __init__(self, stack: Stack, customer: Person, seller: Person) -> None:
        self._stack, self._customer, self._seller = stack, customer, seller
        self._directory = Path(stack.installation.environment[FAILPOINTS_VARIABLE])
        self._truth = Truth(stack)
        # Wait for the effects of the registration.
        until(lambda: self._truth.unsent_mails(customer.id) == 0, TIMEOUT_SECONDS)

    def all_points(self) -> list[Point]:
        """Every point of every life, each in the first life that passes it."""
        found: dict[tuple[str, int], Point] = {}
        for life in LIVES:
            for point in self.points(life):
                found.setdefault((point.name, point.passing), point)
        return list(found.values())

    def points(self, life: str) -> list[Point]:
        """Every point that one life passes, sorted."""
        (self._directory / failpoints.PASSED).unlink(missing_ok=True)
        with self._file(failpoints.RECORDING):
            self._live(life, lambda: None)
            # The last acknowledgements may still be in flight.
            seen: list[str] = []
            while len(seen) < len(seen := self._passed()):
                time.sleep(QUIET_SECONDS)
        times = Counter(self._passed())
        return sorted(
            Point(life, name, each + 1)
            for name, count in times.items()
            for each in range(count if LIVES[life].is_steady and not _is_of_a_relay(name) else 1)
            if each < MAIL_PASSINGS.get(name.rpartition(": ")[2], 1) or ": notifications.deliver: " not in name
        )

    def crash(self, point: Point) -> str:
        """The outcome of an order whose program is killed there, or what was wrong with it."""
        before = self._stack.supervisor.statuses()[point.program].pid

        def died() -> None:
            until(lambda: not armed.exists(), TIMEOUT_SECONDS)
            until(lambda: self._stack.supervisor.statuses()[point.program].pid not in (0, before))
            self._stack.wait_ready(point.program)

        with self._file(failpoints.file_of(point.name), str(point.passing - 1)) as armed:
            try:
                return self._live(point.life, died)
            except (AssertionError, LaunchError) as error:
                return "NOT PASSED" if armed.exists() else f"WRONG: {error}".replace("\n", " ")

    # --- inside

    def _passed(self) -> list[str]:
        return [
            name for name in (self._directory / failpoints.PASSED).read_text().splitlines() if _is_of_the_life(name)
        ]

    def _live(self, life: str, meanwhile: Callable[[], None]) -> str:
        """The outcome. Raises AssertionError when it is wrong."""
        product_id = catalogue_of(self._stack, self._seller.log_in())(RECEIVED)
        expected = LIVES[life].expected
        order_id = LIVES[life].lead(self._customer.log_in(), product_id)
        meanwhile()
        self._truth.comes_right(RECEIVED, {product_id: {order_id: expected}}, TIMEOUT_SECONDS)
        goods = "sold" if expected.is_sold else "back on hand"
        money = _money(expected.captured, expected.refunded)
        return f"{expected.status}, {goods}, {money}, {_notified(*self._truth.mail_attempts(order_id))}"

    @contextmanager
    def _file(self, name: str, content: str = "") -> Iterator[Path]:
        path = self._directory / name
        path.write_text(content)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)


def _money(captured: int, refunded: int) -> str:
    if not captured:
        return "nothing charged"
    return "charged once" + (", refunded once" if refunded else "")


def _notified(attempts: int, copies: int) -> str:
    notified = "notified once" if copies == 1 else f"notified once, in {copies} copies"
    return notified + (", by a second attempt" if attempts > 1 else "")


def _is_of_a_relay(name: str) -> bool:
    """Its batches, and so its number of commits, differ from run to run."""
    return ": relay: " in name


def _is_of_the_life(name: str) -> bool:
    """Excludes what happens at other times, or only on a busy machine: reads, sweeps, registrations, retries, probes."""
    program, work, what = name.split(": ", 2)
    service = program.partition("-")[0]
    is_retry = what in {f"{step} {service}" for step in ("receive", "acknowledge", "acknowledged")}
    return not (
        service == "users"
        or work.startswith(("GET ", "timer ", "POST /products"))
        or "user." in name
        or is_retry
        or PROBE in what
        or ".retry." in what
        or what in ("retry", "retried")
    )
