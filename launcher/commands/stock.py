"""`./souk stock`: operate the stock ledger."""

import typer

from launcher.cli import app, command, operate

stock = typer.Typer(help="Stock and its ledger.", no_args_is_help=True)
app.add_typer(stock, name="stock")


@stock.command()
@command
def audit() -> None:
    """Prove from the ledger that no unit was lost or doubled. Exits with 1 on differences; repairs nothing."""
    operate("products", "services.products.commands", "audit")
