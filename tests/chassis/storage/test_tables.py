"""The chassis's tables, as every installation has them: a change here needs a migration of each service."""

from sqlalchemy import inspect

from chassis.run.service import Service
from chassis.storage.postgres_store import PostgresStore

TABLES = {
    "inbox": """
        message_id UUID
        received_at TIMESTAMP WITH TIME ZONE
        PRIMARY KEY (message_id)
        INDEX (received_at)
    """,
    "outbox": """
        position BIGINT
        id UUID
        type VARCHAR(100)
        subject VARCHAR(100)
        data JSONB
        meta JSONB
        occurred_at TIMESTAMP WITH TIME ZONE
        sent_at TIMESTAMP WITH TIME ZONE NULL
        PRIMARY KEY (position)
        UNIQUE (id)
        INDEX (position) WHERE (sent_at IS NULL)
    """,
    "idempotency": """
        caller VARCHAR(100)
        route VARCHAR(200)
        key_hash VARCHAR(64)
        request_hash VARCHAR(64)
        status INTEGER NULL
        headers JSONB NULL
        body BYTEA NULL
        created_at TIMESTAMP WITH TIME ZONE
        PRIMARY KEY (caller, route, key_hash)
        INDEX (created_at)
    """,
    "operator_actions": """
        id UUID
        by UUID
        name VARCHAR(100)
        subject VARCHAR(200)
        why VARCHAR(200)
        at TIMESTAMP WITH TIME ZONE
        outcome VARCHAR(200) NULL
        PRIMARY KEY (id)
        INDEX (at)
        INDEX (subject, at)
    """,
}


def test_the_tables_are_those_of_every_installation(users: Service) -> None:
    assert isinstance(users.store, PostgresStore)
    found = inspect(users.store.engine)
    for table, expected in TABLES.items():
        columns = [
            f"{column['name']} {column['type'].compile(users.store.engine.dialect)}{' NULL' * column['nullable']}"
            for column in found.get_columns(table)
        ]
        keys = [("PRIMARY KEY", found.get_pk_constraint(table)["constrained_columns"], "")]
        keys += [("UNIQUE", each["column_names"], "") for each in found.get_unique_constraints(table)]
        for index in found.get_indexes(table):
            condition = index["dialect_options"].get("postgresql_where")
            if "duplicates_constraint" not in index:
                keys.append(("INDEX", index["column_names"], f" WHERE {condition}" if condition else ""))
        described = columns + [f"{kind} ({', '.join(map(str, names))}){rest}" for kind, names, rest in keys]
        assert described == [line.strip() for line in expected.strip().splitlines()]
