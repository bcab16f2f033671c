"""What a service consists of. To save memory, processes import lazily."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from chassis.base import disk
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
    """Periodic work, in its own transaction."""

    every_seconds: float
    run: Callable[[], bool | None]
    """True: run again at once."""


@dataclass
class Service:
    """events: the outbox table. collections: MongoDB's, with unsent messages; if none, the store is PostgreSQL."""

    name: str
    settings_class: type[Settings]
    routes: Callable[[], Routes]
    handlers: Handlers | None = None
    tasks: "Callable[[], Tasks] | None" = None
    timers: Sequence[Timer] = ()
    events: "Table | None" = None
    collections: Sequence[str] = ()
    dead_rows: "Callable[[], DeadRows] | None" = None
    title: str = ""
    """Of its part of the API."""

    about: str = ""

    @cached_property
    def settings(self) -> Settings:
        return self.settings_class.current()

    @cached_property
    def celery(self) -> "Tasks | None":
        if self.tasks is None:
            return None
        tasks = self.tasks()
        tasks.bind(self.store, self.settings.broker_url, lambda: disk.is_full(self.settings))
        return tasks

    @cached_property
    def store(self) -> Store:
        if self.collections:
            from chassis.storage.mongo import MongoStore

            return MongoStore(self.settings.mongo_url, self.collections, self.name)
        from chassis.storage.postgres_store import PostgresStore

        settings = self.settings
        store = PostgresStore(settings.database_url, settings.threads, self.name, self.events)
        if settings.replica_url:
            store.use_replica(settings.replica_url, settings.redis_url, self.name, settings.replica_max_lag_seconds)
        return store

    def require_settings(self, *more: str) -> None:
        """Exits unless the store's URL and `more` are set."""
        self.settings.require("mongo_url" if self.collections else "database_url", *more)
