"""Alembic's entry: the chassis brings the connection."""

from chassis import migrate

migrate.run()
