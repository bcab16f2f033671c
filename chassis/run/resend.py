"""`python -m chassis.run.resend services.<name> TYPE...`: send again what the outbox sent, after a queue was lost.

Receivers ignore what they have handled. A service on MongoDB keeps no sent messages: its callers' sweepers repeat their commands.

A restore sends more than inboxes remember, to one receiver, and has them begin anew.
"""

import argparse
import importlib
from collections.abc import Collection, Sequence
from contextlib import closing
from datetime import datetime

from sqlalchemy import ColumnElement, Table, select, update

from chassis.base import clock
from chassis.messaging import broker, relay
from chassis.messaging.envelope import Envelope
from chassis.messaging.publisher import Outgoing, Publisher, points_of
from chassis.run.service import Service
from chassis.run.worker import RETENTION
from chassis.storage.inbox import inbox
from chassis.storage.outbox import TableSource
from chassis.storage.postgres_store import PostgresStore

MAX_AGE = RETENTION / 2
"""Less than the inbox remembers."""


def resend(service: Service, types: Collection[str], since: datetime | None = None, unless: str = "") -> int:
    """The number of messages, which the relay sends.

    since: when they were sent, at most MAX_AGE ago by default. unless: leaves out streams that have an event of this type.
    """
    if (source := _source(service)) is None:
        return 0
    chosen = _chosen(source.table, types, since or clock.now() - MAX_AGE, unless)
    with source.database.engine.begin() as connection:
        return connection.execute(update(source.table).where(chosen).values(sent_at=None)).rowcount


def send_to(
    receiver: str, service: Service, types: Collection[str], since: datetime, until: datetime, unless: str = ""
) -> int:
    """The number of messages, sent at once past all other receivers, who may not remember that they have handled them.

    In the outbox they stay as old as they are.
    """
    if (source := _source(service)) is None:
        return 0
    table, count = source.table, 0
    chosen = _chosen(table, types, since, unless) & (table.c.sent_at <= until)
    query = select(table).where(chosen).order_by(table.c.position).execution_options(yield_per=relay.BATCH)
    with (
        closing(Publisher(service.settings.broker_url, receiver)) as publisher,
        source.database.engine.connect() as connection,
    ):
        for rows in connection.execute(query).partitions():
            outgoing = [_to(receiver, source.envelope(row)) for row in rows]
            count += sum(1 for _ in publisher.send_all(outgoing))
    return count


def renew(service: Service) -> None:
    """What was handled before a moment in the past counts as handled now: it is not forgotten before what is sent again."""
    if isinstance(service.store, PostgresStore):
        with service.store.engine.begin() as connection:
            connection.execute(update(inbox).values(received_at=clock.now()))


# --- inside


def _to(receiver: str, envelope: Envelope) -> Outgoing:
    exchange = broker.own_exchange(receiver).name
    return Outgoing(receiver, envelope.to_json(), points_of(envelope.type), exchange)


def _source(service: Service) -> TableSource | None:
    store = service.store
    return store.source if isinstance(store, PostgresStore) and isinstance(store.source, TableSource) else None


def _chosen(table: Table, types: Collection[str], since: datetime, unless: str) -> ColumnElement[bool]:
    # What was never meant to be sent counts as sent when it occurred.
    was_sent = table.c.sent_at > table.c.occurred_at
    chosen = was_sent & table.c.type.in_(types) & (table.c.sent_at > since)
    if unless and "stream" in table.c:
        other = table.alias()
        refused = select(other.c.stream).where(other.c.type == unless)
        chosen &= table.c.stream.not_in(refused)
    return chosen


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m chassis.run.resend")
    parser.add_argument("package", help="services.<name>")
    parser.add_argument("types", nargs="*", metavar="type")
    parser.add_argument("--since", type=datetime.fromisoformat, help="sent since this moment; default: a day ago")
    parser.add_argument("--unless", default="", metavar="type", help="no message of an order that has such an event")
    parser.add_argument("--until", type=datetime.fromisoformat, help="until this moment, with --to")
    parser.add_argument("--to", default="", metavar="service", help="only to this one, however old they are")
    parser.add_argument("--renew", action="store_true", help="what was handled is remembered as if that were now")
    given = parser.parse_args(arguments)
    if given.to and not (given.since and given.until):
        parser.error("--to needs --since and --until")
    service: Service = importlib.import_module(f"{given.package}.app").service
    service.require_settings()
    if given.renew:
        renew(service)
    if given.to:
        print(send_to(given.to, service, given.types, given.since, given.until, given.unless))
    else:
        print(resend(service, given.types, given.since, given.unless))


if __name__ == "__main__":
    main()
