"""Tests and checks."""

import typer

from launcher import check as checks
from launcher import progress, report, testing
from launcher.cli import app, command, console
from launcher.errors import LaunchError


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
@command
def test(context: typer.Context) -> None:
    """Run the tests on temporary servers. Arguments go to pytest; the whole suite must cover 90 % of each package."""
    code, covered = testing.run(context.args, progress.for_terminal())
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
