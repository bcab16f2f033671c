"""What operators run, in the environment of the orders service: `python -m services.orders.commands sagas|rebuild|events`."""

import argparse
import getpass
import json
import sys
import time
from collections.abc import Sequence
from uuid import UUID

from chassis.base import tracing
from chassis.base.problems import Problem
from chassis.storage import store
from contracts import money
from services.orders import deadlines, history, operations, saga, words
from services.orders.app import service
from services.orders.history import OrderQuery
from services.orders.models import Event, Order
from services.orders.rebuild import rebuild


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m services.orders.commands")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("rebuild", help="rebuild orders and analytics from the events")
    events = commands.add_parser("events", help="print orders' events as JSON lines")
    events.add_argument("orders", type=UUID, nargs="+", metavar="order")
    verbs = commands.add_parser("sagas", help="find and resolve stuck orders").add_subparsers(
        dest="verb", required=True
    )
    verbs.add_parser("list", help="list stuck orders, newest first")
    for verb, summary in (
        ("show", "show an order's events and the replies it is waiting for"),
        ("resume", "repeat every command without a reply, and request what is still owed"),
        ("compensate", "cancel an order in progress and undo it"),
        (
            "settle",
            "record that you refunded what the order owes by other means, or release it although money is missing",
        ),
    ):
        verbs.add_parser(verb, help=summary).add_argument("order", type=UUID)
    given = parser.parse_args(arguments)
    service.require_settings()
    if given.command == "rebuild":
        rebuild_all()
        return
    if given.command == "events":
        with store.active(service.store), store.transaction():
            for order_id in given.orders:
                print_events(order_id)
        return
    with store.active(service.store), tracing.trace(work=f"sagas {given.verb}"):
        try:
            with store.transaction():
                run(given.verb, getattr(given, "order", None), getpass.getuser())
        except Problem as problem:
            sys.exit(problem.detail or problem.title)


def rebuild_all() -> None:
    started = time.monotonic()
    count = rebuild(service.settings.database_url)
    print(f"Rebuilt {count:,} orders and their analytics in {time.monotonic() - started:.1f} s.")


def print_events(order_id: UUID) -> None:
    """None for an unknown order."""
    currency = ""
    for event in Event.stream_of(order_id):
        currency = getattr(event.message, "currency", currency)
        about = {"timestamp": event.occurred_at.isoformat(), "event": event.type, "order_id": str(order_id)}
        ids = tracing.identity(event.meta.get("traceparent", ""), event.meta.get("correlation_id", ""))
        print(json.dumps({**about, "summary": words.summary(event.message, currency), **ids}))


def run(verb: str, order_id: UUID | None, by: str) -> None:
    """Raises NotFound and InvalidTransition."""
    if order_id is None:
        list_stuck()
        return
    order = Order.get_for_update(order_id)
    if verb == "resume":
        deadlines.resume(order, by)
    elif verb == "compensate":
        operations.compensate(order, by)
    elif verb == "settle":
        saga.settle(order, by)
    show(order)


def list_stuck() -> None:
    """All of them: many at once show how far an outage reaches."""
    count, cursor = 0, None
    while count == 0 or cursor is not None:
        orders, cursor = history.page(OrderQuery(limit=100, cursor=cursor), stuck=True)
        for order in orders:
            print(f"{order.id}  {order.status:<10} since {order.stuck_at:%Y-%m-%d %H:%M:%S}  {order.stuck_reason}")
        count += len(orders)
        if not orders:
            break
    print(f"Stuck orders: {count}" if count else "No order is stuck.")


def show(order: Order) -> None:
    """The order's events, then its current state."""
    for event in Event.stream_of(order.id):
        message = event.message
        reason, note = (getattr(message, name, None) for name in ("reason", "note"))
        why = " ".join(part for part in (reason, note and note.text) if part)
        print(
            f"{event.version:>4}  {event.occurred_at:%Y-%m-%d %H:%M:%S.%f}  {event.type:<24} {words.summary(message, order.currency)}"
            + (f" ({why})" if why else "")
            + ("" if event.sent_at else "  [not yet sent]")
        )
    for key, step in order.open_steps.items():
        print(f"Waiting for {key}: attempt {step.attempts}, due {step.due_at:%Y-%m-%d %H:%M:%S}.")
    captured, total, refunded = (
        money.text(amount, order.currency)
        for amount in (order.captured_amount, order.total_amount, order.refunded_amount)
    )
    paid = f"{captured} of {total} paid, {refunded} refunded"
    if order.disputed_amount:
        paid += f", {money.text(order.disputed_amount, order.currency)} disputed"
    print(f"{order.status}: {paid}." + (f" Stuck: {order.stuck_reason}" if order.stuck_at else ""))


if __name__ == "__main__":
    main()
