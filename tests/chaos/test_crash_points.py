"""Killing any program at any moment leaves money, stock and messages right. `./souk chaos` tries every point."""

import ast
import datetime
import os
from pathlib import Path

import pytest

from launcher.stack import Stack
from tests.chaos import table
from tests.chaos.crashes import Crashes, Point, is_bad
from tests.chaos.lives import LIVES
from tests.installation import Person, new_person

ROOT = Path(__file__).parents[2]

SAMPLE = 3
"""Points tried per run beside those of the money path; other ones each day."""

DRIVERS = {"kombu", "celery", "amqp", "pika", "aio_pika", "psycopg2", "psycopg", "asyncpg"}
SENDS = {"ack", "reject", "requeue", "basic_publish", "send_task", "apply_async", "delay", "retry"}
NAMING = {
    f"chassis/{name}.py"
    for name in (
        "base/failpoints",
        "messaging/broker",
        "messaging/consumer",
        "messaging/dead_letters",
        "messaging/publisher",
        "run/celery",
        "run/tasks",
        "run/worker",
        "storage/outbox",
        "storage/postgres",
    )
}
"""The modules that send, acknowledge or connect, with a failpoint before and after."""


def points_of_today() -> list[Point]:
    """The money path, and a sample that changes daily. SOUK_CHAOS_TURN selects another sample."""
    known = sorted(table.read())
    money = [point for point in known if point.is_of_the_money_path]
    others = [point for point in known if not point.is_of_the_money_path]
    turn = int(os.environ.get("SOUK_CHAOS_TURN", datetime.date.today().toordinal()))
    start = turn * SAMPLE % max(len(others), 1)
    return money + (others + others)[start : start + min(SAMPLE, len(others))]


@pytest.fixture(scope="module")
def crashes(stack: Stack, staff: Person) -> Crashes:
    return Crashes(stack, new_person(stack)(), staff)


@pytest.mark.parametrize("point", points_of_today(), ids=lambda point: f"{point.life}: {point.title}")
def test_a_crash_costs_nothing(crashes: Crashes, point: Point) -> None:
    outcome = crashes.crash(point)
    assert not is_bad(outcome), outcome


@pytest.mark.parametrize("life", LIVES)
def test_every_point_of_a_life_is_in_the_table(crashes: Crashes, life: str) -> None:
    known = {(point.name, point.passing) for point in table.read()}

    def untried() -> set[str]:
        return {point.title for point in crashes.points(life) if (point.name, point.passing) not in known}

    # A retry on a busy machine may pass a point once more; a new write is passed in every run.
    new = untried() and untried()
    assert not new, "not tried yet: run ./souk chaos --go-on"


def test_the_table_has_no_failure() -> None:
    known = table.read()
    assert known
    assert not {point.title: outcome for point, outcome in known.items() if is_bad(outcome)}


def test_only_modules_with_failpoints_send_or_connect() -> None:
    """SQLAlchemy's commits and pymongo's writes are failpoints themselves; sends to a broker and bare drivers are not."""
    found = set()
    for path in [*ROOT.glob("chassis/**/*.py"), *ROOT.glob("services/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if _imports(node) & DRIVERS or _called(node) in SENDS:
                found.add(path.relative_to(ROOT).as_posix())
    assert found <= NAMING, "only these may, as their sends are failpoints"


def _imports(node: ast.AST) -> set[str]:
    """Top-level packages."""
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    return {node.module.partition(".")[0]} if isinstance(node, ast.ImportFrom) and node.module else set()


def _called(node: ast.AST) -> str:
    """The method's name."""
    return node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else ""
