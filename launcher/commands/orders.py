"""Look after the orders of this installation: their sagas, and what is made of their events."""

from typing import Annotated

import typer

from launcher.cli import app, command, operate

orders = typer.Typer(help="Orders and what is made of their events.", no_args_is_help=True)
sagas = typer.Typer(help="Orders whose undoing waits for somebody.", no_args_is_help=True)
app.add_typer(orders, name="orders")
app.add_typer(sagas, name="sagas")

OrderId = Annotated[str, typer.Argument(metavar="ORDER", help="The order's id.")]


@orders.command()
@command
def rebuild() -> None:
    """Make the list of orders and the analytics anew from the events, while orders go on."""
    operate("orders", "services.orders.commands", "rebuild")


@sagas.command("list")
@command
def list_stuck() -> None:
    """The orders that are stuck, newest first, and why."""
    _sagas("list")


@sagas.command()
@command
def show(order: OrderId) -> None:
    """Everything that happened to an order, and whose answer it awaits."""
    _sagas("show", order)


@sagas.command()
@command
def resume(order: OrderId) -> None:
    """Ask again, at once, for whatever is unanswered or still owed."""
    _sagas("resume", order)


@sagas.command()
@command
def compensate(order: OrderId) -> None:
    """Cancel an order that is on its way, and undo what was done for it."""
    _sagas("compensate", order)


def _sagas(*arguments: str) -> None:
    operate("orders", "services.orders.commands", "sagas", *arguments)
