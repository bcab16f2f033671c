"""While a database's disk is nearly full, writes are refused or held, and reads go on."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from chassis.messaging.consumer import Hold
from chassis.messaging.envelope import Envelope
from chassis.messaging.handlers import Handlers
from chassis.run import web_app, worker
from chassis.run.service import Service
from chassis.security.auth import ANYONE
from chassis.storage import postgres
from chassis.web.api import Resource, View, endpoint
from contracts.users import UserDeleted
from tests.chassis.support import chassis_service
from tests.small_disk import fill, small_disk

handlers = Handlers("storing")
handled: list[UUID] = []


@handlers.on(UserDeleted)
def note(event: UserDeleted) -> None:
    handled.append(event.user_id)


class Count(View):
    count: int


class Notes(Resource):
    @endpoint(allow=ANYONE)
    def get(self) -> Count:
        """How many there are."""
        return Count(count=postgres.session().execute(text("SELECT count(*) FROM notes")).scalar_one())

    @endpoint(allow=ANYONE, status=201)
    def post(self) -> Count:
        """Add one."""
        postgres.session().execute(text("INSERT INTO notes VALUES (1)"))
        return Count(count=1)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", megabytes=3) as folder:
        yield folder


@pytest.fixture
def storing(make_database: Callable[[str], str], disk: Path) -> Service:
    service = chassis_service(
        "storing", make_database, {"/notes/": Notes}, "CREATE TABLE notes (id int)", handlers=handlers
    )
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
    assert handled == []
    ballast.unlink()
    assert worker.receive(storing, message, {}) is None
    assert len(handled) == 1
