"""One service as the chassis sees it: its table of contents, from which web, worker and Celery processes are made.

Memory is paid per process, so what only some processes need is imported where they need it.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from chassis.base.settings import Settings
from chassis.messaging.handlers import Handlers
from chassis.storage.store import Store

if TYPE_CHECKING:
    from sqlalchemy import Table

    from chassis.run.tasks import Tasks
    from chassis.web.api import Resource


@dataclass(frozen=True)
class Timer:
    """Work that a worker does every so often, in a transaction of its own."""

    every_seconds: float
    run: Callable[[], None]


@dataclass
class Service:
    """`routes` are Resources by URL, or the name of the module whose ROUTES they are, which only web processes import.

    `tasks` names the module whose `tasks` they are, which only processes that send or run them import.
    `dead_rows` names the module through which operators see and replay rows that were given up (see `chassis/run/dead_letters.py`).
    `events` is the table whose rows are its messages, where that is not an outbox of their own.
    `collections` names the MongoDB collections that carry unsent messages; without them the service is on PostgreSQL.
    """

    name: str
    settings_class: type[Settings]
    routes: "Mapping[str, type[Resource]] | str"
    handlers: Handlers | None = None
    tasks: str | None = None
    timers: Sequence[Timer] = ()
    events: "Table | None" = None
    collections: Sequence[str] = ()
    dead_rows: str | None = None

    @cached_property
    def settings(self) -> Settings:
        return self.settings_class.current()

    @cached_property
    def celery(self) -> "Tasks | None":
        """The service's tasks, if it has any, bound to its store and broker."""
        if self.tasks is None:
            return None
        tasks: Tasks = importlib.import_module(self.tasks).tasks
        tasks.bind(self.store, self.settings.broker_url)
        return tasks

    @cached_property
    def store(self) -> Store:
        if self.collections:
            from chassis.storage.mongo import MongoStore

            return MongoStore(self.settings.mongo_url, self.collections, self.name)
        from chassis.storage.postgres import Database
        from chassis.storage.postgres_store import SQLStore

        return SQLStore(Database(self.settings.database_url, self.settings.threads), self.name, self.events)

    def needs(self, *more: str) -> None:
        """End the process with one line per setting that it cannot run without: the store's, and `more`."""
        self.settings.demand("mongo_url" if self.collections else "database_url", *more)
