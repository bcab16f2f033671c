"""A service made of nothing but the chassis, for the chassis's own tests."""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import text

from chassis.base.settings import Settings
from chassis.run.service import Service
from chassis.security.auth import ANYONE
from chassis.storage import idempotency_keys, inbox, outbox, postgres
from chassis.storage.postgres_store import PostgresStore
from chassis.web.api import Resource, View, endpoint
from tests.conftest import API_KEYS, JWT_KEYS, _sha256

TRIGGER = """
CREATE FUNCTION announce_outbox() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_notify('outbox', ''); RETURN NULL; END $$;
CREATE TRIGGER announce AFTER INSERT ON outbox FOR EACH STATEMENT EXECUTE FUNCTION announce_outbox();
"""


NOTES = "CREATE TABLE notes (id int)"


class Count(View):
    count: int


class Notes(Resource):
    """Reads and writes the table that NOTES creates."""

    @endpoint(allow=ANYONE)
    def get(self) -> Count:
        """How many there are."""
        return Count(count=postgres.session().execute(text("SELECT count(*) FROM notes")).scalar_one())

    @endpoint(allow=ANYONE, status=201)
    def post(self) -> Count:
        """Add one."""
        postgres.session().execute(text("INSERT INTO notes VALUES (1)"))
        return Count(count=1)


def chassis_service(
    name: str, make_database: Callable[[str], str], routes: Mapping[str, type[Resource]], *statements: str, **parts: Any
) -> Service:
    """A service with the chassis's tables and those that `statements` create, on a database of its own."""
    service = Service(name, Settings, lambda: routes, **parts)
    service.settings = Settings(
        database_url=make_database(name),
        jwt_keys=JWT_KEYS,
        api_callers={caller: _sha256(key) for caller, key in API_KEYS.items()},
        log_level="warning",
    )
    assert isinstance(service.store, PostgresStore)
    engine = service.store.engine
    postgres.metadata.create_all(engine, tables=[inbox.inbox, idempotency_keys.idempotency_keys, outbox.outbox])
    with engine.begin() as connection:
        for statement in (TRIGGER, *statements):
            connection.execute(text(statement))
    return service
