"""`./souk scale`."""

from typing import Annotated

import typer

from launcher import progress, report, running
from launcher.cli import app, command, console
from launcher.errors import LaunchError
from launcher.stack import Stack


@app.command()
@command
def scale(
    wanted: Annotated[list[str], typer.Argument(metavar="SERVICE=COUNT...", help="For example: users=3 orders=2.")],
) -> None:
    """Set the number of instances of a service; returns when new ones take traffic and surplus ones are drained."""
    stack = Stack(progress=progress.for_terminal())
    for service, count in [_parsed(each) for each in wanted]:
        running.scale(stack, service, count)
    report.catalogue(console, stack)


def _parsed(wanted: str) -> tuple[str, int]:
    service, _, count = wanted.partition("=")
    if not count.isascii() or not count.isdecimal():
        raise LaunchError(f"{wanted}: expected SERVICE=COUNT, for example users=3.")
    return service, int(count)
