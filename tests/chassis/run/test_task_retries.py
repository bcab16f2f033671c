"""How long a failed task waits before its next attempt. Nothing is connected to: the broker is in memory."""

import random
from uuid import UUID, uuid4

import pytest
from celery import Task
from celery.exceptions import Retry

from chassis.run.tasks import Tasks
from chassis.storage.postgres_store import PostgresStore

FAILURES = 100


@pytest.fixture(scope="module")
def failing() -> Task:
    tasks = Tasks("retries")
    tasks.bind(PostgresStore("postgresql://127.0.0.1:1/unused", 1, "retries"), "memory://")

    @tasks.task(retries=50)
    def fail(row_id: UUID) -> None:
        raise OSError("unavailable")

    return tasks.app.tasks["retries.fail"]


def wait_after(task: Task, retries: int) -> float:
    """Seconds until the next attempt, when one fails after `retries` others."""
    task.push_request(id=str(uuid4()), retries=retries, called_directly=False)
    try:
        with pytest.raises(Retry) as retry:
            task.run(str(uuid4()))
    finally:
        task.pop_request()
    return float(retry.value.when)


@pytest.mark.parametrize(("retries", "longest"), [(0, 1), (1, 2), (2, 4), (5, 32), (6, 60), (7, 60), (40, 60)])
def test_a_wait_is_doubled_up_to_a_minute_and_spread_over_its_second_half(
    failing: Task, retries: int, longest: float
) -> None:
    random.seed(retries)
    waits = [wait_after(failing, retries) for _ in range(FAILURES)]
    assert longest / 2 <= min(waits) < 0.55 * longest
    assert 0.95 * longest < max(waits) <= longest
