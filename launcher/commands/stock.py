"""Look after the stock of this installation."""

import subprocess

import typer

from launcher import running
from launcher.cli import app, command
from launcher.stack import Stack
from launcher.state import REPOSITORY

stock = typer.Typer(help="The stock and its ledger.", no_args_is_help=True)
app.add_typer(stock, name="stock")


@stock.command()
@command
def audit() -> None:
    """Prove from the ledger that no piece was lost or doubled. Exits with 1 when something differs; repairs nothing."""
    stack = Stack()
    running.ensure_up(stack)
    arguments, environment = stack.services.one_shot("products", "services.products.audit")
    code = subprocess.run(arguments, env=environment, cwd=REPOSITORY, check=False).returncode
    if code:
        raise typer.Exit(code)
