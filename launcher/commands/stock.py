"""Look after the stock of this installation."""

import typer

from launcher.cli import app, command, operate

stock = typer.Typer(help="The stock and its ledger.", no_args_is_help=True)
app.add_typer(stock, name="stock")


@stock.command()
@command
def audit() -> None:
    """Prove from the ledger that no unit was lost or doubled. Exits with 1 when something differs; repairs nothing."""
    operate("products", "services.products.commands", "audit")
