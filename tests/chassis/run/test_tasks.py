"""Tasks: sent with a confirm and a timeout, retried a bounded number of times, then exhausted."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from amqp.exceptions import MessageNacked
from celery.contrib.testing.worker import start_worker
from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from structlog import get_logger

from chassis.base import clock, telemetry
from chassis.messaging import broker
from chassis.messaging import publisher as publishing
from chassis.messaging.envelope import Envelope
from chassis.messaging.publisher import Publisher
from chassis.messaging.relay import TASK_ROWS
from chassis.run import tasks as running
from chassis.run import worker
from chassis.run.service import Service
from chassis.run.tasks import Tasks
from chassis.storage import postgres
from tests.chassis.support import chassis_service
from tests.conftest import server_url
from tests.installation import until
from tests.wire import Wire


@pytest.fixture(scope="module")
def service(make_database: Callable[[str], str]) -> Service:
    return chassis_service("tasks", make_database, {}, "CREATE TABLE given_up (row_id uuid, error text)")


@pytest.fixture
def tasks(name: str, service: Service) -> Iterator[Tasks]:
    """Tasks of a name of this test's own, on a real broker."""
    made = Tasks(name)
    made.bind(service.store, server_url("BROKER"))
    yield made
    with broker.connect(server_url("BROKER")) as connection:
        connection.default_channel.queue_delete(made.queue)


def entered(task: str) -> Envelope:
    return Envelope(uuid4(), "test", f"task.{task}", str(uuid4()), clock.now(), {})


def waiting(tasks: Tasks) -> list[str]:
    """The ids of the tasks in the queue."""
    with broker.connect(server_url("BROKER")) as connection:
        queue = tasks.app.conf.task_queues[0](connection.default_channel)
        found = []
        while (message := queue.get(no_ack=True)) is not None:
            found.append(message.headers["id"])
        return found


def test_a_task_is_sent_to_a_classic_queue_that_dead_letters_what_is_rejected(
    tasks: Tasks, publisher: Publisher
) -> None:
    envelope = entered("anything")
    publisher.send(tasks.outgoing([envelope]))
    # Declaring it otherwise than it is would be refused: this is how it is.
    with broker.connect(server_url("BROKER")) as connection:
        arguments = {"x-dead-letter-exchange": tasks.service, "x-dead-letter-routing-key": f"{tasks.service}.dead"}
        connection.default_channel.queue_declare(
            tasks.queue, durable=True, auto_delete=False, arguments={**arguments, "x-queue-type": "classic"}
        )
    assert waiting(tasks) == [str(envelope.id)]


def test_tasks_of_one_name_share_messages_up_to_a_size(
    tasks: Tasks, service: Service, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "celery", tasks)
    envelopes = [entered("anything") for _ in range(2 * TASK_ROWS + 1)]
    sent = worker.sender(service, publisher)(envelopes)
    assert sorted(each.subject for each in sent) == sorted(each.subject for each in envelopes)
    assert len(waiting(tasks)) == 3


def test_a_task_that_is_not_confirmed_in_time_is_an_error(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "CONFIRM_TIMEOUT_SECONDS", 1)
    wire, url = Wire.to(server_url("BROKER"))
    frozen = Publisher(url)
    first, unconfirmed, again = entered("x"), entered("x"), entered("x")
    frozen.send(tasks.outgoing([first]))
    wire.freeze_responses()
    with pytest.raises(ConnectionError, match="did not confirm"):
        frozen.send(tasks.outgoing([unconfirmed]))
    wire.thaw()
    # Its late confirm must not pass for that of the next one.
    frozen.send(tasks.outgoing([again]))
    frozen.close()
    wire.close()
    assert waiting(tasks) == [str(envelope.id) for envelope in (first, unconfirmed, again)]


def outcomes(task: str, outcome: str) -> float:
    return REGISTRY.get_sample_value("souk_tasks_handled_total", {"task": task, "outcome": outcome}) or 0


@pytest.mark.parametrize("error", [OSError("unavailable"), OperationalError("SELECT", {}, Exception("gone"))])
def test_a_task_that_keeps_failing_is_exhausted_and_its_row_updated(
    tasks: Tasks, service: Service, error: Exception
) -> None:
    def give_up(row_id: UUID, cause: Exception) -> None:
        postgres.session().execute(
            text("INSERT INTO given_up VALUES (:id, :error)"), {"id": row_id, "error": str(cause)}
        )

    @tasks.task(retries=2, on_exhausted=give_up)
    def fail(row_id: UUID) -> None:
        raise error

    row_id = uuid4()
    assert tasks.app.tasks[f"{tasks.service}.fail"].apply(args=[str(row_id)]).failed()
    assert outcomes(f"{tasks.service}.fail", "retried") == 2
    assert outcomes(f"{tasks.service}.fail", "exhausted") == 1
    assert REGISTRY.get_sample_value("souk_consumed_total", {"queue": tasks.queue}) == 3
    with service.store.transaction():
        recorded = (
            postgres.session().scalars(text("SELECT error FROM given_up WHERE row_id = :id"), {"id": row_id}).all()
        )
    # Not while our own database is unavailable.
    assert recorded == (["unavailable"] if isinstance(error, OSError) else [])


def working(tasks: Tasks) -> AbstractContextManager[Any]:
    """A real worker in a thread of this process."""
    return start_worker(tasks.app, perform_ping_check=False, loglevel="ERROR")


def dead_letters(tasks: Tasks) -> int:
    with broker.connect(server_url("BROKER")) as connection:
        return broker.depth(connection.default_channel, f"{tasks.service}.dead")


@pytest.fixture
def dead_letter_queue(tasks: Tasks) -> Iterator[None]:
    broker.declare(server_url("BROKER"), tasks.service, [])
    yield
    with broker.connect(server_url("BROKER")) as connection:
        for name in (tasks.service, f"{tasks.service}.dead"):
            connection.default_channel.queue_delete(name)


@pytest.mark.usefixtures("dead_letter_queue")
def test_while_the_disk_is_full_tasks_wait_in_their_queue(
    tasks: Tasks, service: Service, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "FULL_DISK_SECONDS", 0.1)
    full, done = threading.Event(), []
    tasks.bind(service.store, server_url("BROKER"), full.is_set)

    @tasks.task()
    def note(row_id: UUID) -> None:
        done.append(row_id)

    full.set()
    envelope = entered(f"{tasks.service}.note")
    publisher.send(tasks.outgoing([envelope]))
    with working(tasks):
        until(lambda: outcomes(f"{tasks.service}.note", "held") > 1)
        assert done == []
        full.clear()
        until(lambda: done == [UUID(envelope.subject)])
    assert dead_letters(tasks) == 0


@pytest.mark.usefixtures("dead_letter_queue")
def test_a_task_whose_retry_the_broker_does_not_take_stays_in_its_queue(
    tasks: Tasks, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "CONFIRM_TIMEOUT_SECONDS", 1)
    attempts, is_available = [], threading.Event()
    wire, tasks.app.conf.broker_write_url = Wire.to(server_url("BROKER"))

    @tasks.task()
    def note(row_id: UUID) -> None:
        attempts.append(row_id)
        if not is_available.is_set():
            raise ConnectionError("unavailable")

    with working(tasks):
        wire.freeze_responses()
        publisher.send(tasks.outgoing([entered(f"{tasks.service}.note")]))
        until(lambda: len(attempts) > 1)
        is_available.set()
        wire.thaw()
        until(lambda: outcomes(f"{tasks.service}.note", "done") >= 1)
    assert dead_letters(tasks) == 0
    wire.close()


def test_what_celery_sends_itself_is_confirmed(tasks: Tasks) -> None:
    """Else a retry that the broker refuses would be lost with the task that it replaces."""
    with tasks.app.connection_for_write() as connection:
        channel = connection.default_channel
        full = {"x-max-length": 0, "x-overflow": "reject-publish"}
        channel.queue_declare(tasks.queue, durable=True, auto_delete=False, arguments=full)
        with pytest.raises(MessageNacked):
            connection.Producer().publish("{}", routing_key=tasks.queue)


@pytest.mark.usefixtures("dead_letter_queue")
def test_each_row_of_a_task_is_one_line_of_the_log(
    tasks: Tasks, publisher: Publisher, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    telemetry.configure_logging("tasks", "info")
    # Its logger may have been bound by an earlier test.
    monkeypatch.setattr(running, "log", get_logger("chassis.run.tasks"))
    failing, request, logged = uuid4(), str(uuid4()), ""

    @tasks.task(retries=0)
    def note(row_id: UUID) -> None:
        if row_id == failing:
            raise OSError("unavailable")

    first = replace(entered(f"{tasks.service}.note"), correlation_id=request)
    second = replace(entered(f"{tasks.service}.note"), subject=str(failing), traceparent=f"00-{'a' * 32}-{'b' * 16}-01")

    def lines() -> dict[str, Any]:
        nonlocal logged
        logged += capsys.readouterr().out
        found = [json.loads(line) for line in logged.splitlines() if '"event": "task"' in line]
        return {line["row_id"]: line for line in found}

    publisher.send(tasks.outgoing([first, second]))
    with working(tasks):
        until(lambda: len(lines()) == 2)
    done, failed = lines()[first.subject], lines()[second.subject]
    assert (done["task"], done["outcome"], done["correlation_id"]) == (f"{tasks.service}.note", "done", request)
    assert (failed["outcome"], failed["trace_id"]) == ("exhausted", "a" * 32)
    [exhausted] = [json.loads(line) for line in logged.splitlines() if '"event": "task exhausted"' in line]
    assert (exhausted["row_id"], exhausted["trace_id"]) == (str(failing), "a" * 32)
    assert isinstance(failed["milliseconds"], float)
