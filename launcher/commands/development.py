"""Tests and checks."""

from typing import Annotated

import typer

from launcher import check as checks
from launcher import progress, report, testing
from launcher.cli import app, command, console
from launcher.errors import LaunchError
from launcher.temporary import Where


@app.command("test", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
@command
def run_tests(
    context: typer.Context,
    servers: Annotated[
        Where,
        typer.Option(help="Where they run: here, in containers of compose.yaml's images, or of Debian's packages."),
    ] = Where.HERE,
) -> None:
    """Run the tests on temporary servers. Arguments go to pytest; the whole suite must cover 90 % of each package."""
    code, covered = testing.run(context.args, progress.for_terminal(), servers)
    if code or context.args:
        raise typer.Exit(code)
    report.coverage(console, covered, testing.MIN_PERCENT)
    if any(percent is None or percent < testing.MIN_PERCENT for percent in covered.values()) or not covered:
        raise LaunchError(f"Coverage of a package is below {testing.MIN_PERCENT:.0f} %: see the table.")


@app.command()
@command
def check() -> None:
    """Check style, types, import rules and the lock file."""
    failed = False
    for each in checks.CHECKS:
        outcome = each()
        failed = failed or not outcome.passed
        console.print(f"{'[green]OK    ' if outcome.passed else '[red]failed'}[/] {outcome.title}")
        if not outcome.passed:
            console.print(outcome.output, markup=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)
