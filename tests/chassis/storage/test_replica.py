"""Reads from a real streaming replica: old by a bounded time, never without the caller's own writes, and from the primary in doubt."""

from collections.abc import Callable, Iterator
from uuid import UUID, uuid4

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text

from chassis.base.settings import Settings
from chassis.run import web_app
from chassis.run.service import Service
from chassis.run.testing import bearer
from chassis.security import auth
from chassis.storage import postgres
from chassis.storage.postgres_store import PostgresStore
from chassis.web.api import Resource, View, endpoint
from tests.chassis.support import chassis_service
from tests.conftest import server_url
from tests.installation import until
from tests.standby import Standby, standing_by

ALICE, BOB = uuid4(), uuid4()

LONG, SHORT = 3_600, 0.2
"""Lags in seconds: longer than a test, and over at once."""


class Found(View):
    count: int
    is_replica: bool


class Notes(Resource):
    @endpoint(allow=auth.CUSTOMER, may_be_stale=True)
    def get(self) -> Found:
        count = postgres.session().scalar(text("SELECT count(*) FROM notes"))
        return Found(count=count or 0, is_replica=bool(postgres.session().scalar(text("SELECT pg_is_in_recovery()"))))

    @endpoint(allow=auth.CUSTOMER, status=204)
    def post(self) -> None:
        postgres.session().execute(text("INSERT INTO notes VALUES (1)"))


class Notebook:
    def __init__(self, service: Service) -> None:
        self._service, self._client = service, web_app.build(service).test_client()

    def add(self, person: UUID) -> None:
        assert self._client.post("/notes/", headers=bearer(self._service, person)).status_code == 204

    def read(self, person: UUID) -> tuple[int, bool]:
        """How many there are, and whether a replica says so."""
        found = self._client.get("/notes/", headers=bearer(self._service, person))
        assert found.status_code == 200, found.text
        return found.json["count"], found.json["is_replica"]  # type: ignore[index]


Open = Callable[..., Notebook]


@pytest.fixture
def notebook(make_database: Callable[[str], str]) -> Iterator[Open]:
    """Opens an empty one that a standby has as well."""
    services: list[Service] = []

    def opened(standby: Standby, max_lag_seconds: float, redis_url: str = server_url("REDIS")) -> Notebook:
        service = chassis_service("stale", make_database, {"/notes/": Notes}, "CREATE TABLE notes (id int)")
        assert isinstance(service.store, PostgresStore)
        service.store.use_replica(standby.url(service.settings.database_url), redis_url, service.name, max_lag_seconds)
        services.append(service)
        standby.catch_up()
        return Notebook(service)

    yield opened
    for service in services:
        service.store.close()  # type: ignore[attr-defined]


@pytest.fixture
def paused(standby: Standby) -> Iterator[Callable[[], None]]:
    """Pauses the standby until the test's end."""
    yield standby.pause
    standby.resume()


def counted(source: str) -> float:
    return REGISTRY.get_sample_value("souk_stale_reads_total", {"source": source}) or 0.0


def test_a_replica_that_has_everything_is_read(standby: Standby, notebook: Open) -> None:
    notes, before = notebook(standby, LONG), counted("replica")
    assert until(lambda: notes.read(ALICE)[1])
    assert notes.read(ALICE) == (0, True)
    assert counted("replica") >= before + 2


def test_a_caller_sees_its_own_write_at_once_and_others_within_the_lag(
    standby: Standby, notebook: Open, paused: Callable[[], None]
) -> None:
    notes = notebook(standby, LONG)
    assert until(lambda: notes.read(BOB) == (0, True))
    paused()
    notes.add(ALICE)
    assert notes.read(ALICE) == (1, False)
    assert notes.read(BOB) == (0, True)
    standby.resume()
    assert until(lambda: notes.read(ALICE) == (1, True))


def test_a_replica_that_is_too_far_behind_is_not_read(
    standby: Standby, notebook: Open, paused: Callable[[], None]
) -> None:
    notes, before = notebook(standby, SHORT), counted("primary_late")
    assert until(lambda: notes.read(BOB) == (0, True))
    paused()
    notes.add(ALICE)
    assert until(lambda: notes.read(BOB) == (1, False))
    assert counted("primary_late") > before
    standby.resume()
    assert until(lambda: notes.read(BOB) == (1, True))


def test_own_writes_cannot_be_missed_while_redis_is_unavailable(standby: Standby, notebook: Open) -> None:
    notes = notebook(standby, LONG, "redis://127.0.0.1:1/0")
    notes.add(ALICE)
    assert [notes.read(ALICE) for _ in range(3)] == [(1, False)] * 3


def test_a_replica_that_became_a_primary_or_died_is_not_read(notebook: Open) -> None:
    with standing_by() as standby:
        notes, before = notebook(standby, LONG), counted("primary_unavailable")
        assert until(lambda: notes.read(BOB) == (0, True))
        standby.ask("SELECT pg_promote()")
        assert until(lambda: standby.ask("SELECT NOT pg_is_in_recovery()"))
        notes.add(ALICE)
        assert notes.read(BOB) == (1, False)
        standby.process.kill()
        standby.process.wait()
        assert notes.read(BOB) == (1, False)
        assert counted("primary_unavailable") > before


def test_a_replica_needs_redis() -> None:
    with pytest.raises(ValueError, match="SOUK_REPLICA_URL needs SOUK_REDIS_URL"):
        Settings(replica_url="postgresql://replica/orders")
