"""`./souk payments`: operate the payments service."""

import typer

from launcher.cli import app, command, operate

payments = typer.Typer(help="Payments and their ledger.", no_args_is_help=True)
app.add_typer(payments, name="payments")


@payments.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
@command
def reconcile(context: typer.Context) -> None:
    """Compare the ledger with the provider's report. Exits with 1 on differences; repairs nothing."""
    operate("payments", "services.payments.commands", "reconcile", *context.args)
