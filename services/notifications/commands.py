"""What operators run, in the environment of the notifications service: `python -m services.notifications.commands deliveries`."""

import argparse
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select

from chassis.storage import postgres, store
from services.notifications.app import service
from services.notifications.models import Attempt, Notification


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m services.notifications.commands")
    commands = parser.add_subparsers(required=True)
    told = commands.add_parser("deliveries", help="print notifications about an order, and each attempt, as JSON lines")
    told.add_argument("user", type=UUID)
    told.add_argument("order", type=UUID)
    given = parser.parse_args(arguments)
    service.require_settings()
    with store.active(service.store), store.transaction():
        for each in deliveries(given.user, given.order):
            print(json.dumps(each))


def deliveries(user_id: UUID, order_id: UUID) -> Iterator[dict[str, Any]]:
    query = select(Notification).where(Notification.user_id == user_id, Notification.subject_id == order_id)
    for notification in postgres.session().scalars(query.order_by(Notification.created_at)):
        about = {"order_id": str(order_id), "kind": notification.kind, "channel": notification.channel}
        yield _entry(notification.created_at, "notification", **about, status=notification.status)
        for attempt in Attempt.of(notification.id):
            more = {"provider": attempt.provider, "outcome": attempt.outcome, "error": attempt.error}
            yield _entry(attempt.ended_at or attempt.started_at, "delivery attempted", **about, **more)


def _entry(at: datetime, event: str, **fields: str | None) -> dict[str, Any]:
    return {"timestamp": at.isoformat(), "event": event, **fields}


if __name__ == "__main__":
    main()
