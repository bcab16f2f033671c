"""What operators run, in the environment of the orders service: `python -m services.orders.commands sagas|rebuild|events|find`."""

import argparse
import getpass
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from chassis.base import tracing
from chassis.base.problems import Problem
from chassis.run import terminal
from chassis.storage import postgres, store
from contracts import money
from services.orders import deadlines, history, operations, saga, words
from services.orders.app import service
from services.orders.history import OrderQuery
from services.orders.models import Event, Order
from services.orders.rebuild import rebuild

MAX_FOUND = 20

ACTIONS: Mapping[str, Callable[[Order, str], None]] = {
    "resume": deadlines.resume,
    "compensate": operations.compensate,
    "settle": saga.settle,
}
"""By verb; each takes the order and who acts."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m services.orders.commands")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("rebuild", help="rebuild orders and analytics from the events")
    events = commands.add_parser("events", help="print orders' events as JSON lines")
    events.add_argument("orders", type=UUID, nargs="+", metavar="order")
    found = commands.add_parser("find", help="print orders as JSON lines, newest first")
    found.add_argument(
        "id", type=UUID, help="of an order, its customer, or a request or trace that placed or changed it"
    )
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
        acting = verbs.add_parser(verb, help=summary)
        acting.add_argument("order", type=UUID)
        acting.add_argument("--reason", default="", help="for the trail")
    given = parser.parse_args(arguments)
    service.require_settings()
    if given.command == "rebuild":
        rebuild_all()
        return
    if given.command == "find":
        with store.active(service.store), store.transaction():
            print_found(given.id)
        return
    if given.command == "events":
        with store.active(service.store), store.transaction():
            for order_id in given.orders:
                print_events(order_id)
        return
    with store.active(service.store), tracing.trace(work=f"sagas {given.verb}"):
        try:
            with store.transaction():
                run(given.verb, getattr(given, "order", None), getattr(given, "reason", ""))
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
        print(json.dumps({**about, "summary": words.summary(event.message, currency), **event.identity}))


def print_found(id_: UUID) -> None:
    order = postgres.session().get(Order, id_)
    query = OrderQuery(limit=MAX_FOUND)
    found = [order] if order is not None else [*history.page(query, request=id_)[0], *history.page(query, id_)[0]]
    for each in found:
        about = {"timestamp": each.created_at.isoformat(), "event": "order", "order_id": str(each.id)}
        print(json.dumps({**about, "user_id": str(each.user_id), "summary": state(each)}))


def run(verb: str, order_id: UUID | None, reason: str) -> None:
    """Raises NotFound and InvalidTransition."""
    if order_id is None:
        list_stuck()
        return
    order = Order.get_for_update(order_id)
    if verb != "show":
        action_id = terminal.begin(f"{verb} order", order_id, reason)
        ACTIONS[verb](order, getpass.getuser())
        terminal.end(action_id, order.status)
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
    print(state(order))


def state(order: Order) -> str:
    captured, total, refunded = (
        money.text(amount, order.currency)
        for amount in (order.captured_amount, order.total_amount, order.refunded_amount)
    )
    paid = f"{captured} of {total} paid, {refunded} refunded"
    if order.disputed_amount:
        paid += f", {money.text(order.disputed_amount, order.currency)} disputed"
    return f"{order.status}: {paid}." + (f" Stuck: {order.stuck_reason}" if order.stuck_at else "")


if __name__ == "__main__":
    main()
