"""`python -m chassis.run.resend services.<name> TYPE...`: send again what the outbox sent, after a queue was lost.

Receivers ignore what they have handled. A service on MongoDB keeps no sent messages: its callers' sweepers repeat their commands.
"""

import importlib
import sys
from collections.abc import Collection

from sqlalchemy import update

from chassis.base import clock
from chassis.run.service import Service
from chassis.run.worker import RETENTION
from chassis.storage.outbox import TableSource
from chassis.storage.postgres_store import PostgresStore

MAX_AGE = RETENTION / 2
"""Less than the inbox remembers."""


def resend(service: Service, types: Collection[str]) -> int:
    """The number of messages."""
    store = service.store
    if not isinstance(store, PostgresStore) or not isinstance(store.source, TableSource):
        return 0
    table = store.source.table
    # What was never meant to be sent counts as sent when it occurred.
    was_sent = table.c.sent_at > table.c.occurred_at
    chosen = was_sent & table.c.type.in_(types) & (table.c.sent_at > clock.now() - MAX_AGE)
    with store.engine.begin() as connection:
        return connection.execute(update(table).where(chosen).values(sent_at=None)).rowcount


def main(package: str, *types: str) -> None:
    service: Service = importlib.import_module(f"{package}.app").service
    service.require_settings()
    print(resend(service, types))


if __name__ == "__main__":
    main(*sys.argv[1:])
