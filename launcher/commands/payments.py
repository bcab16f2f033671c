"""Look after the payments of this installation."""

import typer

from launcher.cli import app, command, operate

payments = typer.Typer(help="The payments and their ledger.", no_args_is_help=True)
app.add_typer(payments, name="payments")


@payments.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
@command
def reconcile(context: typer.Context) -> None:
    """Compare the ledger with the provider's report. Exits with 1 when something differs; repairs nothing."""
    operate("payments", "services.payments.commands", "reconcile", *context.args)
