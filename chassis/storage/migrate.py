"""Alembic migrations from a service's `migrations/` folder."""

import sys
from pathlib import Path
from types import ModuleType

from alembic import command, context, op
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from chassis.storage import idempotency_keys, inbox, outbox, postgres, postgres_trail

# Any number: serializes migrations of one database.
_LOCK = 7_368_107


def upgrade(package: ModuleType, url: str, revision: str = "head") -> None:
    """Idempotent. The schema of a later release, which has to suit this one too, stays as it is."""
    folder = Path(str(package.__file__)).parent / "migrations"
    if not folder.is_dir():
        return
    config = _config(folder)
    known = {each.revision for each in ScriptDirectory.from_config(config).walk_revisions()}
    with _engine(url).begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        applied = MigrationContext.configure(connection).get_current_revision()
        if applied is not None and applied not in known:
            print(
                f"{package.__name__}: the schema is a later release's ({applied}), and stays as it is", file=sys.stderr
            )
            return
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def is_applied(package: ModuleType, url: str) -> bool:
    """Whether the schema is this code's, or a later release's, which has to suit this code too."""
    script = ScriptDirectory.from_config(_config(Path(str(package.__file__)).parent / "migrations"))
    with _engine(url).connect() as connection:
        applied = MigrationContext.configure(connection).get_current_revision()
    return applied is not None and applied not in {each.revision for each in script.walk_revisions()} - {
        script.get_current_head()
    }


def _config(folder: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(folder))
    return config


def _engine(url: str) -> Engine:
    return create_engine(url.replace("postgresql://", "postgresql+psycopg2://", 1), poolclass=NullPool)


def run() -> None:
    """For a service's `migrations/env.py`."""
    context.configure(connection=context.config.attributes["connection"], target_metadata=postgres.metadata)
    context.run_migrations()


def create_chassis_tables(with_outbox: bool = True) -> None:
    """For a service's first migration."""
    postgres.metadata.create_all(op.get_bind(), tables=[inbox.inbox, idempotency_keys.idempotency_keys])
    if with_outbox:
        postgres.metadata.create_all(op.get_bind(), tables=[outbox.outbox])
        announce_inserts("outbox")
    create_trail()


def create_trail() -> None:
    """For services whose first migration ran before there was one."""
    postgres.metadata.create_all(op.get_bind(), tables=[postgres_trail.operator_actions])


def announce_inserts(table: str) -> None:
    """Wake the relay by a trigger: no extra round trip."""
    op.execute(
        f"CREATE FUNCTION announce_{table}() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN PERFORM pg_notify('{outbox.CHANNEL}', ''); RETURN NULL; END $$"
    )
    op.execute(
        f"CREATE TRIGGER announce AFTER INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION announce_{table}()"
    )
