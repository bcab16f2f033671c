"""Alembic's entry: the chassis brings the connection."""

from chassis.storage import migrate

migrate.run()
