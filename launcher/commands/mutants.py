"""`./souk mutants`: plant mistakes in the core and print those that no test notices."""

import typer

from launcher import progress, testing
from launcher.cli import app, command


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
@command
def mutants(context: typer.Context) -> None:
    """Plant one mistake at a time in the core (tests/mutants/core.toml) and print those that no test notices (hours).

    Paths try only these files, `--percent N` only that share of each one's mistakes.
    """
    if code := testing.on_servers(progress.for_terminal(), ["-m", "tests.mutants", *context.args]):
        raise typer.Exit(code)
