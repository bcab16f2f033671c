"""While a database's disk is nearly full, writes are refused or held, and reads go on."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from prometheus_client import REGISTRY

from chassis.messaging.consumer import Delivery, Hold
from chassis.messaging.envelope import Envelope
from chassis.messaging.handlers import Handlers
from chassis.run import web_app, worker
from chassis.run.service import Service
from contracts.users import UserDeleted
from tests.chassis.support import NOTES, Notes, chassis_service
from tests.small_disk import fill, small_disk

handlers = Handlers("storing")
handled: list[UUID] = []


@handlers.on(UserDeleted)
def note(event: UserDeleted) -> None:
    handled.append(event.user_id)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", megabytes=3) as folder:
        yield folder


@pytest.fixture
def storing(make_database: Callable[[str], str], disk: Path) -> Service:
    service = chassis_service("storing", make_database, {"/notes/": Notes}, NOTES, handlers=handlers)
    service.settings = service.settings.model_copy(update={"data_folders": (str(disk),), "min_free_megabytes": 1})
    return service


def test_writes_are_refused_and_reads_go_on(storing: Service, disk: Path) -> None:
    client = web_app.build(storing).test_client()
    assert client.post("/notes/").status_code == 201
    ballast = fill(disk)
    refused = client.post("/notes/")
    assert (refused.status_code, refused.mimetype) == (507, "application/problem+json")
    assert refused.headers["Retry-After"]
    assert client.get("/notes/").json == {"count": 1}
    ballast.unlink()
    assert client.post("/notes/").status_code == 201


def test_messages_wait_unhandled(storing: Service, disk: Path) -> None:
    handled.clear()
    message = Envelope.of(UserDeleted(uuid4()), "test").to_json()
    ballast = fill(disk)
    assert isinstance(worker.receive(storing, message, {}), Hold)
    held = worker.receive_all(storing, [Delivery(message, {})] * 2) or []
    assert [type(verdict) for verdict in held] == [Hold, Hold]
    assert handled == []
    ballast.unlink()
    assert worker.receive(storing, message, {}) is None
    assert len(handled) == 1


def test_those_handled_together_take_their_time_once(storing: Service) -> None:
    def figures() -> list[float]:
        names = ("souk_consumed_total", "souk_consumer_busy_seconds_total")
        return [REGISTRY.get_sample_value(name, {"queue": "storing"}) or 0.0 for name in names]

    before, started = figures(), time.perf_counter()
    messages = [Envelope.of(UserDeleted(uuid4()), "test").to_json() for _ in range(8)]
    assert worker.receive_all(storing, [Delivery(message, {}) for message in messages]) == [None] * 8
    elapsed = time.perf_counter() - started
    count, seconds = (after - earlier for after, earlier in zip(figures(), before, strict=True))
    assert count == 8
    assert 0 < seconds <= elapsed
