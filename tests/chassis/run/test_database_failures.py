"""A database that refuses connections, our rights, or writes as after a failover: nothing is lost or repeated, and nothing restarts."""

from collections.abc import Callable, Iterator
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine, create_engine, text

from chassis.messaging.consumer import Retry
from chassis.messaging.envelope import Envelope
from chassis.messaging.handlers import Handlers
from chassis.messaging.relay import Relay
from chassis.run import web_app, worker
from chassis.run.service import Service
from chassis.run.testing import System, bearer
from chassis.security import auth
from chassis.storage import outbox, postgres
from chassis.storage.postgres_store import PostgresStore
from chassis.web.api import Body, Resource, View, endpoint
from contracts.users import UserDeleted
from tests.broker import sending_each
from tests.chassis.support import chassis_service
from tests.conftest import server_url

handlers = Handlers("stored")


@handlers.on(UserDeleted)
def user_deleted(event: UserDeleted) -> None:
    postgres.session().execute(text("INSERT INTO rows VALUES (:id)"), {"id": event.user_id})


class NewRow(Body):
    id: UUID


class Count(View):
    count: int


class Rows(Resource):
    @endpoint(allow=auth.ANYONE)
    def get(self) -> Count:
        return Count(count=postgres.session().scalar(text("SELECT count(*) FROM rows")) or 0)

    @endpoint(allow=auth.CUSTOMER, status=201, location="/rows/", idempotency="optional")
    def post(self, body: NewRow) -> Count:
        postgres.session().execute(text("INSERT INTO rows VALUES (:id)"), {"id": body.id})
        return Count(count=1)


@pytest.fixture
def service(make_database: Callable[[str], str]) -> Iterator[Service]:
    built = chassis_service("stored", make_database, {"/rows/": Rows}, "CREATE TABLE rows (id uuid)", handlers=handlers)
    assert isinstance(built.store, PostgresStore)
    yield built
    built.store.close()


CHANGES = {
    "read-only": "SET default_transaction_read_only = on",
    "refusing": "ALLOW_CONNECTIONS false",
    "without our rights": "SET role = pg_monitor",
}


class Breakable:
    """A database of the shared server."""

    def __init__(self, name: str, admin: Engine) -> None:
        self.name, self.admin = name, admin

    def fail(self, how: str) -> None:
        self._alter(CHANGES[how])
        # A failover closes all connections.
        self._run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name", name=self.name)

    def recover(self) -> None:
        self._alter("ALLOW_CONNECTIONS true")
        self._alter("RESET ALL")

    def _alter(self, change: str) -> None:
        self._run(f"ALTER DATABASE {self.name} {change}")

    def _run(self, statement: str, **values: str) -> None:
        with self.admin.connect() as connection:
            connection.execute(text(statement), values)


@pytest.fixture
def database(service: Service) -> Iterator[Breakable]:
    url = server_url("POSTGRES").replace("postgresql://", "postgresql+psycopg2://", 1)
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    yield Breakable(service.settings.database_url.rpartition("/")[2].partition("?")[0], admin)
    admin.dispose()


@pytest.fixture
def http(service: Service) -> FlaskClient:
    return web_app.build(service).test_client()


FAILURES = pytest.mark.parametrize("how", CHANGES)


@FAILURES
def test_requests_are_503_and_read_only_still_serves_reads(
    service: Service, database: Breakable, http: FlaskClient, how: str
) -> None:
    headers = bearer(service, uuid4()) | {"Idempotency-Key": "1"}
    body = {"id": str(uuid4())}
    assert http.get("/rows/").json == {"count": 0}
    database.fail(how)
    for _ in range(2):
        refused = http.post("/rows/", json=body, headers=headers)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
        assert http.get("/rows/").status_code == (200 if how == "read-only" else 503)
    database.recover()
    # The first may still meet a connection to what is read-only; it closes it.
    statuses = [http.post("/rows/", json=body, headers=headers).status_code for _ in range(2)]
    assert statuses[-1] == 201
    assert http.get("/rows/").json == {"count": 1}


@FAILURES
def test_messages_wait_and_none_is_sent_again_and_again(
    service: Service, database: Breakable, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    with service.store.transaction():
        outbox.emit(UserDeleted(uuid4()))
    sent: list[Envelope] = []
    relay = Relay(service.store.source, sending_each(sent.append))
    arrived = Envelope.of(UserDeleted(uuid4()), "test")
    last = {worker.ATTEMPT_HEADER: len(worker.DELAYS_MILLISECONDS)}
    database.fail(how)
    for _ in range(2):
        assert isinstance(worker.receive(service, arrived.to_json(), last), Retry)
        with pytest.raises(service.store.unavailable):
            relay.send_batch()
    assert sent == []
    advice = "Check this service's password and rights" in capsys.readouterr().out
    assert advice == (how == "without our rights")
    database.recover()
    assert relay.send_batch() == 1
    System([service]).deliver(service, arrived)
    with service.store.transaction():
        assert postgres.session().scalar(text("SELECT count(*) FROM rows")) == 1
