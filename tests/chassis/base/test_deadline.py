"""A request works no longer than its caller waits: told by header, handed on, and kept by the edge and the database."""

import time
from collections.abc import Callable, Iterator

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from chassis.base import deadline
from chassis.base.deadline import HEADER
from chassis.clients import Client
from chassis.run import web_app
from chassis.security.auth import ANYONE
from chassis.storage import postgres
from chassis.web.api import Resource, View, endpoint
from tests.chassis.faulty import Faulty, faulty, settings_for
from tests.chassis.support import chassis_service

asked: list[str] = []


class Told(View):
    milliseconds: int


class Patience(Resource):
    @endpoint(allow=ANYONE)
    def get(self) -> Told:
        """How long the caller waits."""
        asked.append("handler")
        return Told(milliseconds=int((deadline.remaining() or 0) * 1000))


class Slow(Resource):
    @endpoint(allow=ANYONE)
    def get(self) -> Told:
        """A statement that takes 20 s."""
        postgres.session().execute(text("SELECT pg_sleep(20)"))
        return Told(milliseconds=0)


class Written(Resource):
    @endpoint(allow=ANYONE, status=201)
    def post(self) -> Told:
        """Writes, then is too slow."""
        postgres.session().execute(text("INSERT INTO notes VALUES (1)"))
        postgres.session().execute(text("SELECT pg_sleep(20)"))
        return Told(milliseconds=0)

    @endpoint(allow=ANYONE)
    def get(self) -> Told:
        """How many were kept."""
        return Told(milliseconds=postgres.session().execute(text("SELECT count(*) FROM notes")).scalar_one())


@pytest.fixture(scope="module")
def http(make_database: Callable[[str], str]) -> FlaskClient:
    routes = {"/patience": Patience, "/slow": Slow, "/written": Written}
    service = chassis_service("deadline", make_database, routes, "CREATE TABLE notes (id int)")
    return web_app.build(service).test_client()


@pytest.fixture
def upstream() -> Iterator[Faulty]:
    with faulty() as started:
        yield started


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [("400", 1, 400), ("9000", 8_000, 9_000), ("60000", 8_000, 9_000), ("soon", 8_000, 9_000), ("-5", 8_000, 9_000)],
)
def test_a_request_has_its_callers_time_but_at_most_ours(http: FlaskClient, header: str, least: int, most: int) -> None:
    answer = http.get("/patience", headers={HEADER: header})
    assert least <= answer.json["milliseconds"] <= most


def test_without_a_header_it_has_our_own_timeout(http: FlaskClient) -> None:
    assert 8_000 < http.get("/patience").json["milliseconds"] <= 9_000


def test_no_work_begins_after_the_deadline(http: FlaskClient) -> None:
    asked.clear()
    answer = http.get("/patience", headers={HEADER: "0"})
    assert (answer.status_code, answer.mimetype, asked) == (504, "application/problem+json", [])


@pytest.mark.parametrize(("method", "path"), [("GET", "/slow"), ("POST", "/written")])
def test_a_statement_ends_at_the_callers_deadline_and_nothing_is_kept(
    http: FlaskClient, method: str, path: str
) -> None:
    started = time.monotonic()
    answer = http.open(path, method=method, headers={HEADER: "300"})
    assert (answer.status_code, answer.json["title"]) == (504, "Request timed out")
    assert time.monotonic() - started < 9
    assert http.get("/written").json["milliseconds"] == 0


def test_the_remaining_time_is_passed_on(upstream: Faulty) -> None:
    with deadline.within(0.8):
        Client("upstream").get("/", {}, settings_for(upstream))
    ((_, _, headers, _),) = upstream.seen
    assert 0 < int(headers[HEADER]) <= 800


def test_the_earlier_of_two_deadlines_holds() -> None:
    with deadline.within(100), deadline.within(1, is_callers=True), deadline.within(50):
        left, callers = deadline.remaining(), deadline.callers_remaining()
        assert left is not None
        assert callers is not None
        assert 0 < left <= 1
        assert 0 < callers <= 1
    assert deadline.remaining() is None
    deadline.check()
