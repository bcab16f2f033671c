"""A service made of nothing but the chassis, for the chassis's own tests."""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import text

from chassis.base.settings import Settings
from chassis.run.service import Service
from chassis.storage import idempotency_keys, inbox, outbox, postgres
from chassis.storage.postgres_store import PostgresStore
from chassis.web.api import Resource
from tests.conftest import API_KEYS, JWT_KEYS, _sha256

TRIGGER = """
CREATE FUNCTION announce_outbox() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_notify('outbox', ''); RETURN NULL; END $$;
CREATE TRIGGER announce AFTER INSERT ON outbox FOR EACH STATEMENT EXECUTE FUNCTION announce_outbox();
"""


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
