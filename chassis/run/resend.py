"""`python -m chassis.run.resend services.<name> TYPE...`: send again what the outbox sent, after a queue was lost.

Receivers ignore what they have handled. A service on MongoDB keeps no sent messages: its callers' sweepers repeat their commands.
"""

import argparse
import importlib
from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import select, update

from chassis.base import clock
from chassis.run.service import Service
from chassis.run.worker import RETENTION
from chassis.storage.outbox import TableSource
from chassis.storage.postgres_store import PostgresStore

MAX_AGE = RETENTION / 2
"""Less than the inbox remembers."""


def resend(service: Service, types: Collection[str], since: datetime | None = None, unless: str = "") -> int:
    """The number of messages.

    since: when they were sent, at most MAX_AGE ago by default. unless: leaves out streams that have an event of this type.
    """
    store = service.store
    if not isinstance(store, PostgresStore) or not isinstance(store.source, TableSource):
        return 0
    table = store.source.table
    # What was never meant to be sent counts as sent when it occurred.
    was_sent = table.c.sent_at > table.c.occurred_at
    chosen = was_sent & table.c.type.in_(types) & (table.c.sent_at > (since or clock.now() - MAX_AGE))
    if unless and "stream" in table.c:
        other = table.alias()
        refused = select(other.c.stream).where(other.c.type == unless)
        chosen &= table.c.stream.not_in(refused)
    with store.engine.begin() as connection:
        return connection.execute(update(table).where(chosen).values(sent_at=None)).rowcount


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m chassis.run.resend")
    parser.add_argument("package", help="services.<name>")
    parser.add_argument("types", nargs="*", metavar="type")
    parser.add_argument("--since", type=datetime.fromisoformat, help="sent since this moment; default: a day ago")
    parser.add_argument("--unless", default="", metavar="type", help="no message of an order that has such an event")
    given = parser.parse_args(arguments)
    service: Service = importlib.import_module(f"{given.package}.app").service
    service.require_settings()
    print(resend(service, given.types, given.since, given.unless))


if __name__ == "__main__":
    main()
