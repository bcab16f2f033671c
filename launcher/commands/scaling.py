"""How many instances of each service run."""

from typing import Annotated

import typer

from launcher import progress, report, running
from launcher.cli import app, command, console
from launcher.errors import LaunchError
from launcher.stack import Stack


@app.command()
@command
def scale(
    wanted: Annotated[list[str], typer.Argument(metavar="SERVICE=COUNT...", help="For example users=3 orders=2.")],
) -> None:
    """Run so many instances of a service; returns when they take traffic, or when what is too many was drained."""
    stack = Stack(progress=progress.for_terminal())
    for service, count in [_parsed(each) for each in wanted]:
        running.scale(stack, service, count)
    report.catalogue(console, stack)


def _parsed(wanted: str) -> tuple[str, int]:
    service, _, count = wanted.partition("=")
    if not count.isascii() or not count.isdecimal():
        raise LaunchError(f"{wanted}: say SERVICE=COUNT, for example users=3.")
    return service, int(count)
