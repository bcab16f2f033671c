"""A request takes no longer than its caller waits: sent as a header, passed on, and enforced by the edge and the database."""

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

ran: list[str] = []


class Remaining(View):
    milliseconds: int


class Time(Resource):
    @endpoint(allow=ANYONE)
    def get(self) -> Remaining:
        """How long the caller waits."""
        ran.append("handler")
        return Remaining(milliseconds=int((deadline.remaining() or 0) * 1000))


class Slow(Resource):
    @endpoint(allow=ANYONE)
    def get(self) -> Remaining:
        """A statement that takes 20 s."""
        postgres.session().execute(text("SELECT pg_sleep(20)"))
        return Remaining(milliseconds=0)


class Written(Resource):
    @endpoint(allow=ANYONE, status=201)
    def post(self) -> Remaining:
        """Writes, then is too slow."""
        postgres.session().execute(text("INSERT INTO notes VALUES (1)"))
        postgres.session().execute(text("SELECT pg_sleep(20)"))
        return Remaining(milliseconds=0)

    @endpoint(allow=ANYONE)
    def get(self) -> Remaining:
        """How many were kept."""
        return Remaining(milliseconds=postgres.session().execute(text("SELECT count(*) FROM notes")).scalar_one())


@pytest.fixture(scope="module")
def http(make_database: Callable[[str], str]) -> FlaskClient:
    routes = {"/time": Time, "/slow": Slow, "/written": Written}
    service = chassis_service("deadline", make_database, routes, "CREATE TABLE notes (id int)")
    return web_app.build(service).test_client()


@pytest.fixture
def upstream() -> Iterator[Faulty]:
    with faulty() as started:
        yield started


@pytest.mark.parametrize(
    ("header", "min_milliseconds", "max_milliseconds"),
    [("400", 1, 400), ("9000", 8_000, 9_000), ("60000", 8_000, 9_000), ("soon", 8_000, 9_000), ("-5", 8_000, 9_000)],
)
def test_a_request_has_its_callers_time_but_at_most_ours(
    http: FlaskClient, header: str, min_milliseconds: int, max_milliseconds: int
) -> None:
    response = http.get("/time", headers={HEADER: header})
    assert min_milliseconds <= response.json["milliseconds"] <= max_milliseconds


def test_without_a_header_it_has_our_own_timeout(http: FlaskClient) -> None:
    assert 8_000 < http.get("/time").json["milliseconds"] <= 9_000


def test_no_work_begins_after_the_deadline(http: FlaskClient) -> None:
    ran.clear()
    response = http.get("/time", headers={HEADER: "0"})
    assert (response.status_code, response.mimetype, ran) == (504, "application/problem+json", [])


@pytest.mark.parametrize(("method", "path"), [("GET", "/slow"), ("POST", "/written")])
def test_a_statement_ends_at_the_callers_deadline_and_nothing_is_kept(
    http: FlaskClient, method: str, path: str
) -> None:
    started = time.monotonic()
    response = http.open(path, method=method, headers={HEADER: "300"})
    assert (response.status_code, response.json["title"]) == (504, "Request timed out")
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
