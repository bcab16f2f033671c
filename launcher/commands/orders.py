"""`./souk orders` and `./souk sagas`: operate the orders service."""

from typing import Annotated

import typer

from launcher.cli import app, command, operate

orders = typer.Typer(help="Projections of orders.", no_args_is_help=True)
sagas = typer.Typer(help="Stuck orders.", no_args_is_help=True)
app.add_typer(orders, name="orders")
app.add_typer(sagas, name="sagas")

OrderId = Annotated[str, typer.Argument(metavar="ORDER", help="The order's id.")]


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
    _sagas("show", order)


@sagas.command()
@command
def resume(order: OrderId) -> None:
    """Send the unanswered commands of an order again."""
    _sagas("resume", order)


@sagas.command()
@command
def compensate(order: OrderId) -> None:
    """Cancel an order in progress, and compensate its steps."""
    _sagas("compensate", order)


@sagas.command()
@command
def settle(order: OrderId) -> None:
    """Record that you refunded what an order owes by other means, or release it although money is missing."""
    _sagas("settle", order)


def _sagas(*arguments: str) -> None:
    operate("orders", "services.orders.commands", "sagas", *arguments)
