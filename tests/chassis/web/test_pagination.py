"""Lists by page, through HTTP: every row once, also among rows of one moment, and no empty page at the end."""

from collections.abc import Callable, Iterator
from datetime import datetime
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chassis.base import clock
from chassis.base.problems import Invalid
from chassis.run import web_app
from chassis.run.service import Service
from chassis.security import auth
from chassis.storage import postgres
from chassis.storage.postgres_store import PostgresStore
from chassis.web import pagination
from chassis.web.api import Resource, endpoint
from tests.chassis.support import chassis_service


class Base(DeclarativeBase):
    type_annotation_map = postgres.COLUMN_TYPES


class Event(Base):
    __tablename__ = "events"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    created_at: Mapped[datetime]


class EventsView(pagination.PageView):
    ids: list[UUID]


class Events(Resource):
    @endpoint(allow=auth.ANYONE)
    def get(self, query: pagination.Page) -> EventsView:
        rows, following = pagination.newest_first(select(Event), Event.created_at, Event.id, query)
        return EventsView(ids=[row.id for row in rows], next=following)


@pytest.fixture(scope="module")
def service(make_database: Callable[[str], str]) -> Service:
    created = "CREATE TABLE events (id uuid PRIMARY KEY, created_at timestamptz NOT NULL)"
    return chassis_service("events", make_database, {"/events": Events}, created)


@pytest.fixture
def events(service: Service) -> Iterator[FlaskClient]:
    yield web_app.build(service).test_client()
    assert isinstance(service.store, PostgresStore)
    with service.store.engine.begin() as connection:
        connection.execute(text("TRUNCATE events"))


def add(service: Service, count: int) -> set[str]:
    """Rows of one moment; their ids."""
    ids, moment = [uuid4() for _ in range(count)], clock.now()
    with service.store.transaction():
        postgres.session().add_all([Event(id=each, created_at=moment) for each in ids])
    return set(map(str, ids))


def pages(events: FlaskClient, limit: int) -> list[list[str]]:
    found, cursor = [], ""
    while True:
        page = events.get(f"/events?limit={limit}{cursor}").json
        found.append(page["ids"])
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_rows_of_one_moment_are_each_on_one_page(service: Service, events: FlaskClient, limit: int) -> None:
    added = add(service, 5)
    listed = [each for page in pages(events, limit) for each in page]
    assert len(listed) == 5
    assert set(listed) == added


def test_a_page_has_twenty_rows_unless_the_client_asks_for_more(service: Service, events: FlaskClient) -> None:
    add(service, 22)
    assert [len(events.get(f"/events{query}").json["ids"]) for query in ("", "?limit=21")] == [20, 21]


def test_a_full_last_page_announces_no_other(service: Service, events: FlaskClient) -> None:
    add(service, 4)
    assert [len(page) for page in pages(events, 2)] == [2, 2]


@pytest.mark.parametrize("values", [["1"], ["1", "2", "3"], []])
def test_a_cursor_with_more_or_fewer_values_than_its_list_encodes_is_refused(values: list[str]) -> None:
    assert pagination.decode(pagination.encode("1", "2"), 2) == ["1", "2"]
    with pytest.raises(Invalid):
        pagination.decode(pagination.encode(*values), 2)
