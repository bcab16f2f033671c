"""Alembic's entry point; the chassis provides the connection."""

from chassis.storage import migrate

migrate.run()
