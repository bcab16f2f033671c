"""The migrations make what the models say, and bring along what was there before."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from services.payments.models.base import Base


def test_the_migrated_tables_are_those_of_the_models(payments):
    with payments.store.database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": of_payments, "compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def of_payments(item, name, kind, reflected, compare_to):
    """The chassis's tables are its own; indexes stand in the migration alone."""
    return kind not in ("table", "index") or (kind == "table" and name in Base.metadata.tables)
