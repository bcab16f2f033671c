"""The migrations of each service make the tables of its models."""

import importlib
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import MetaData

from chassis.run.service import Service
from chassis.storage.postgres_store import PostgresStore


@pytest.mark.parametrize(
    ("name", "module"),
    [("users", "user"), ("orders", "events"), ("notifications", "base")],
)
def test_the_migrated_tables_are_those_of_the_models(request: pytest.FixtureRequest, name: str, module: str) -> None:
    service: Service = request.getfixturevalue(name)
    metadata: MetaData = importlib.import_module(f"services.{name}.models.{module}").Base.metadata

    def is_compared(item: Any, item_name: str | None, kind: str, *_: Any) -> bool:
        """Leave out the chassis's tables, and indexes, which cannot be compared when they are of expressions."""
        return kind not in ("table", "index") or (kind == "table" and item_name in metadata.tables)

    assert isinstance(service.store, PostgresStore)
    with service.store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": is_compared, "compare_type": True})
        differences = compare_metadata(context, metadata)
    # Some keys and columns only the migrations define.
    assert [each for each in differences if not str(each[0]).startswith("remove_")] == []
