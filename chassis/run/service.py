"""A service's table of contents, from which its processes are made.

Memory is paid per process: what only some of them need is imported there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from chassis.base.settings import Settings
from chassis.messaging.handlers import Handlers
from chassis.storage.store import Store

if TYPE_CHECKING:
    from sqlalchemy import Table

    from chassis.run.dead_rows import DeadRows
    from chassis.run.tasks import Tasks
    from chassis.web.api import Resource


Routes: TypeAlias = "Mapping[str, type[Resource]]"
"""Resources by URL."""


@dataclass(frozen=True)
class Timer:
    """Periodic work of a worker, in a transaction of its own."""

    every_seconds: float
    run: Callable[[], None]


@dataclass
class Service:
    """`routes`, `tasks` and `dead_rows` import what they return.

    events: the table that serves as outbox, instead of one of its own.
    collections: those in MongoDB that carry unsent messages; without any, the service is on PostgreSQL.
    """

    name: str
    settings_class: type[Settings]
    routes: Callable[[], Routes]
    handlers: Handlers | None = None
    tasks: "Callable[[], Tasks] | None" = None
    timers: Sequence[Timer] = ()
    events: "Table | None" = None
    collections: Sequence[str] = ()
    dead_rows: "Callable[[], DeadRows] | None" = None

    @cached_property
    def settings(self) -> Settings:
        return self.settings_class.current()

    @cached_property
    def celery(self) -> "Tasks | None":
        """The tasks, bound to store and broker."""
        if self.tasks is None:
            return None
        tasks = self.tasks()
        tasks.bind(self.store, self.settings.broker_url)
        return tasks

    @cached_property
    def store(self) -> Store:
        if self.collections:
            from chassis.storage.mongo import MongoStore

            return MongoStore(self.settings.mongo_url, self.collections, self.name)
        from chassis.storage.postgres_store import PostgresStore

        return PostgresStore(self.settings.database_url, self.settings.threads, self.name, self.events)

    def require_settings(self, *more: str) -> None:
        """End the process with a line per missing setting: the store's URL, and `more`."""
        self.settings.require("mongo_url" if self.collections else "database_url", *more)
