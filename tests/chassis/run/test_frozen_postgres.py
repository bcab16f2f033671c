"""While PostgreSQL hangs, every request is refused within its caller's time, and afterwards all goes on."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest
from flask import Flask
from sqlalchemy import text

from chassis.base import deadline
from chassis.run import web_app
from chassis.run.service import Service
from chassis.storage import postgres, store
from launcher.servers import Postgres
from launcher.stack import Stack
from tests.chassis.support import NOTES, Notes, chassis_service
from tests.frozen import frozen
from tests.installation import servers_alone

REQUESTS = 20
"""More than there are connections."""

OVERHEAD_SECONDS = 5.0
"""Twenty threads on a busy machine; a statement without a caller's time is given twelve."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with servers_alone(tmp_path_factory.mktemp("frozen"), "postgres") as running:
        yield running


@pytest.fixture(scope="module")
def service(stack: Stack) -> Service:
    def database(name: str) -> str:
        server = stack.servers["postgres"]
        assert isinstance(server, Postgres)
        server.ensure_databases([name])
        return server.database_url(name)

    return chassis_service("frozen", database, {"/notes/": Notes}, NOTES)


@pytest.fixture(scope="module")
def web(service: Service) -> Flask:
    return web_app.build(service)


def request(web: Flask, method: str, seconds: float) -> tuple[int, float]:
    """Status and duration."""
    began = time.monotonic()
    response = web.test_client().open("/notes/", method=method, headers={deadline.HEADER: str(int(seconds * 1000))})
    assert response.is_json
    return response.status_code, time.monotonic() - began


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_while_postgres_hangs_requests_end_in_their_callers_time(
    stack: Stack, service: Service, web: Flask, method: str
) -> None:
    with ThreadPoolExecutor(REQUESTS) as pool:
        # Connections are open: each hangs at its next statement, not at connecting.
        list(pool.map(lambda _: request(web, "GET", 9), range(REQUESTS)))
        with frozen(stack, "postgres"):
            found = list(pool.map(lambda _: request(web, method, 1), range(REQUESTS)))
            again = list(pool.map(lambda _: request(web, method, 1), range(REQUESTS)))
    assert {status for status, _ in found + again} <= {503, 504}
    assert max(seconds for _, seconds in found + again) < 1 + OVERHEAD_SECONDS
    assert request(web, "GET", 9)[0] == 200


def test_while_postgres_hangs_a_check_ends_before_its_probe(stack: Stack, service: Service) -> None:
    with frozen(stack, "postgres"):
        began = time.monotonic()
        with pytest.raises(service.store.unavailable):
            service.store.check()
        assert time.monotonic() - began < 2 * postgres.CHECK_SECONDS
    service.store.check()


def lock_for(seconds: int) -> None:
    with store.transaction():
        postgres.session().execute(text("LOCK TABLE notes"))
        postgres.session().execute(text(f"SELECT pg_sleep({seconds})"))


def test_a_statement_whose_client_has_gone_ends_soon(stack: Stack, service: Service) -> None:
    with store.active(service.store):
        with deadline.within(0.1), pytest.raises(service.store.unavailable):
            lock_for(9)
        with deadline.within(5):
            lock_for(0)


def test_a_new_connection_is_not_waited_for(stack: Stack, service: Service) -> None:
    with frozen(stack, "postgres"), deadline.within(0.5):
        began = time.monotonic()
        with pytest.raises(psycopg2.OperationalError, match="in time"):
            service.store.listen("notes")  # type: ignore[attr-defined]
        assert time.monotonic() - began < postgres.CONNECT_SECONDS
