"""Rows read and written in sets: current when locked, and written once."""

from collections.abc import Callable, Iterator
from uuid import UUID, uuid4

import pytest
from sqlalchemy import MetaData, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chassis.run.service import Service
from chassis.storage import postgres, rows, store
from tests.chassis.support import chassis_service


class Base(DeclarativeBase):
    metadata = MetaData()


class Jar(Base):
    __tablename__ = "jars"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    content: Mapped[str]


@pytest.fixture(scope="module")
def service(make_database: Callable[[str], str]) -> Service:
    return chassis_service("rows", make_database, {}, "CREATE TABLE jars (id uuid PRIMARY KEY, content text)")


@pytest.fixture
def jar_id(service: Service) -> Iterator[UUID]:
    jar_id = uuid4()
    with store.active(service.store):
        with store.transaction():
            rows.add(Jar, {"id": jar_id, "content": "flour"})
        yield jar_id


def set_content(jar_id: UUID, content: str) -> None:
    """In the open transaction."""
    postgres.session().execute(
        text("UPDATE jars SET content = :content WHERE id = :id"), {"id": jar_id, "content": content}
    )


def content(service: Service, jar_id: UUID) -> str:
    with store.transaction():
        return str(postgres.session().scalar(text("SELECT content FROM jars WHERE id = :id"), {"id": jar_id}))


def test_a_locked_row_is_as_it_is_now_even_if_it_was_read_before(service: Service, jar_id: UUID) -> None:
    with store.transaction():
        read = postgres.session().get(Jar, jar_id)
        assert read is not None
        set_content(jar_id, "sugar")
        locked = rows.get_for_update(Jar, jar_id)
        assert locked is not None
        assert locked.content == "sugar"


def test_a_row_is_written_once_also_if_the_session_is_used_after(service: Service, jar_id: UUID) -> None:
    with store.transaction(), rows.unit():
        jar = rows.get_for_update(Jar, jar_id)
        assert jar is not None
        jar.content = "sugar"
        # The change is written before the session is used.
        set_content(jar_id, "salt")
    assert content(service, jar_id) == "salt"
