"""PostgreSQL's log has no value of a statement that failed, whichever constraint of whichever table it broke."""

import importlib
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from chassis.run.service import Service
from chassis.storage.migrate import upgrade
from launcher.manifests import SERVICES
from tests.conftest import postgres_log

CANARY = f"canary{uuid4().hex[:12]}"
"""Fits into most columns."""

SAMPLES = {
    "uuid": "gen_random_uuid()",
    "bool": "true",
    "bytea": f"'{CANARY}'::bytea",
    "json": f"""'"{CANARY}"'::json""",
    "jsonb": f"""'"{CANARY}"'::jsonb""",
    "timestamptz": "now()",
    "date": "now()::date",
    **dict.fromkeys(("text", "varchar", "bpchar"), f"'{CANARY}'"),
    **dict.fromkeys(("_text", "_varchar"), f"ARRAY['{CANARY}']"),
    **dict.fromkeys(("int2", "int4", "int8", "numeric", "float8"), "1"),
}
"""SQL of a value of each type; others are null."""

WITH_TABLES = [name for name in SERVICES if SERVICES[name].store == "postgres"]


def rows(columns: dict[str, str], required: list[str]) -> Iterator[list[dict[str, str]]]:
    """Batches of rows, each in one transaction, of which the last is refused."""
    yield [columns, columns]
    for name in required:
        yield [{**columns, name: "NULL"}]
    for name, value in columns.items():
        if value == f"'{CANARY}'":
            yield [{**columns, name: f"'{CANARY}' || repeat('x', 100000)"}]
        if value == "1":
            yield [{**columns, name: "-2147483648"}]


def insert(connection: Connection, table: str, row: dict[str, str]) -> None:
    names = ", ".join(f'"{name}"' for name in row)
    connection.execute(text(f'INSERT INTO "{table}" ({names}) VALUES ({", ".join(row.values())})'))


def columns_of(connection: Connection, table: str) -> list[Any]:
    query = "SELECT column_name, udt_name, is_nullable FROM information_schema.columns WHERE table_name = :table"
    query += " AND is_generated = 'NEVER' AND identity_generation IS DISTINCT FROM 'ALWAYS'"
    return list(connection.execute(text(query), {"table": table}))


@pytest.mark.parametrize("name", WITH_TABLES)
def test_no_violated_constraint_writes_a_value_to_the_log(name: str, make_database: Callable[[str], str]) -> None:
    url = make_database(name)
    upgrade(importlib.import_module(f"services.{name}"), url)
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg2://", 1), poolclass=NullPool)
    refused, start = set(), len(postgres_log())
    for table in inspect(engine).get_table_names():
        with engine.connect() as connection:
            found = columns_of(connection, table)
            columns = {column: SAMPLES.get(kind, "NULL") for column, kind, _ in found}
            required = [column for column, _, nullable in found if nullable == "NO"]
            for batch in rows(columns, required):
                try:
                    for row in batch:
                        insert(connection, table, row)
                except DBAPIError:
                    refused.add(table)
                connection.rollback()
    assert refused == set(inspect(engine).get_table_names())
    logged = postgres_log()[start:]
    assert "violates" in logged
    assert not [line for line in logged.splitlines() if CANARY in line]


def test_no_statement_or_parameter_is_ever_logged(users: Service) -> None:
    with users.store.engine.connect() as connection:  # type: ignore[attr-defined]
        settings = dict(connection.execute(text("SELECT name, setting FROM pg_settings")).tuples().all())
    assert (settings["log_error_verbosity"], settings["log_min_error_statement"]) == ("terse", "panic")
    assert settings["log_parameter_max_length_on_error"] == "0"
    assert settings["log_min_duration_statement"] == settings["log_min_duration_sample"] == "-1"
    assert settings["log_statement"] == "none"
