"""`./souk orders` and `./souk sagas`: operate the orders service."""

import re
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from typing import Annotated
from uuid import UUID

import typer

from launcher import running
from launcher.cli import app, command, operate
from launcher.commands.logs import AsJSON, show_entries
from launcher.entries import Entry, entries
from launcher.errors import LaunchError
from launcher.manifests import SERVICES
from launcher.stack import Stack

orders = typer.Typer(help="Orders: find one and its story, and their projections.", no_args_is_help=True)
sagas = typer.Typer(help="Stuck orders.", no_args_is_help=True)
app.add_typer(orders, name="orders")
app.add_typer(sagas, name="sagas")

Reason = Annotated[str, typer.Option(help="Kept in the operators' trail.")]
OrderId = Annotated[UUID, typer.Argument(metavar="ORDER", help="The order's id.")]


@orders.command("show")
@command
def show_order(
    id_: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="Of an order, of a request or trace that placed or changed it, or a customer's e-mail."
        ),
    ],
    as_json: AsJSON = False,
) -> None:
    """Tell an order's story: events, ledger entries, stock movements, mails and attempts, by time (UTC)."""
    stack = Stack()
    running.expect(stack, "postgres")
    found = _found(stack, id_)
    if not found:
        raise LaunchError(f"There is no order of {id_}; ./souk trace {id_} shows what is logged.")
    show_entries(found, as_json)
    if len(found) > 1:
        return
    told, failure = _story(stack, found[0])
    show_entries(told, as_json)
    if failure is not None:
        raise failure


def _found(stack: Stack, id_: str) -> list[Entry]:
    """Raises LaunchError."""
    if "@" in id_:
        email, id_ = id_, stack.run_once("users", "services.users.commands", "find", id_).strip()
        if not id_:
            raise LaunchError(f"No account is registered as {email}.")
    elif not re.fullmatch("[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", id_):
        raise LaunchError(f"{id_} is neither a whole id nor an e-mail address.")
    return _entries(stack, "orders", "find", id_)


def _story(stack: Stack, order: Entry) -> tuple[list[Entry], LaunchError | None]:
    """By time; and why a part is missing."""
    order_id, user_id = str(order.fields["order_id"]), str(order.fields["user_id"])
    parts = [
        ("orders", "events", order_id),
        ("payments", "ledger", order_id),
        ("products", "movements", order_id),
        ("notifications", "deliveries", user_id, order_id),
    ]
    told, failure = list[Entry](), None
    with ThreadPoolExecutor(2) as pool:
        for reading in [pool.submit(_entries, stack, *part) for part in parts]:
            try:
                told += reading.result()
            except LaunchError as error:
                failure = error
    return sorted(told, key=attrgetter("time")), failure


def _entries(stack: Stack, service: str, *arguments: str) -> list[Entry]:
    """Raises LaunchError."""
    running.expect(stack, SERVICES[service].store)
    told = stack.run_once(service, f"services.{service}.commands", *arguments)
    return [*entries(service, told.splitlines())]


@orders.command()
@command
def rebuild() -> None:
    """Rebuild all projections from the events, while orders go on."""
    operate("orders", "services.orders.commands", "rebuild")


@sagas.command("list")
@command
def list_stuck() -> None:
    """List stuck orders with the reason, newest first."""
    _sagas("list")


@sagas.command()
@command
def show(order: OrderId) -> None:
    """Show an order's events and the reply that it awaits."""
    _sagas("show", str(order))


@sagas.command()
@command
def resume(order: OrderId, reason: Reason = "") -> None:
    """Send the unanswered commands of an order again."""
    _sagas("resume", str(order), f"--reason={reason}")


@sagas.command()
@command
def compensate(order: OrderId, reason: Reason = "") -> None:
    """Cancel an order in progress, and compensate its steps."""
    _sagas("compensate", str(order), f"--reason={reason}")


@sagas.command()
@command
def settle(order: OrderId, reason: Reason = "") -> None:
    """Record that you refunded what an order owes by other means, or release it although money is missing."""
    _sagas("settle", str(order), f"--reason={reason}")


def _sagas(*arguments: str) -> None:
    operate("orders", "services.orders.commands", "sagas", *arguments)
