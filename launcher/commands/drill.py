"""`./souk drill NAME`: break something in the running installation under load."""

from collections import Counter
from typing import Annotated

import typer

from launcher import progress, running
from launcher.backup import place
from launcher.backup.drill import prove
from launcher.cli import app, command, console
from launcher.commands.restore import tell
from launcher.errors import LaunchError
from launcher.stack import Stack

NAMES = ("kill", "roll", "consul", "restore")


@app.command()
@command
def drill(
    name: Annotated[
        str,
        typer.Argument(
            help="kill (an instance), roll (restart all, one by one), consul (lose it with its data), or restore (the last "
            "backup on servers beside these, without load)."
        ),
    ],
    rate: Annotated[float, typer.Option(min=1, help="Requests per second.")] = 200,
    seconds: Annotated[float, typer.Option(min=0, help="How long Consul is down.")] = 60,
) -> None:
    """Break something under load and count failed requests, or prove the last backup. Exits with 1 if something failed."""
    from launcher import drills

    stack = Stack()
    if name == "restore":
        _restore(stack)
        return
    running.ensure_up(stack)
    if not stack.has("consul"):
        raise LaunchError("Drills need Consul.")
    running.expect(stack, *running.servers_of("users"))
    match name:
        case "kill":
            outcome = drills.kill_an_instance(stack, rate)
        case "roll":
            outcome = drills.roll(stack, rate)
        case "consul":
            outcome = drills.lose_consul(stack, rate, seconds)
        case _:
            raise LaunchError(f"Unknown drill {name}. Choose from: {', '.join(NAMES)}.")
    load = outcome.load
    console.print(f"{outcome.title}: {'; '.join(outcome.findings)}.")
    console.print(f"{load.sent} requests, {len(load.failures)} failed, the slowest took {load.slowest_seconds:.2f} s.")
    for failure, count in Counter(load.failures).most_common(5):
        console.print(f"    {count} times {failure}", markup=False)
    if load.failures:
        raise typer.Exit(1)


def _restore(stack: Stack) -> None:
    target = place.opened(stack.state, stack.installation.environment)
    outcome = prove(stack, target, None, progress.for_terminal())
    tell(outcome.restored)
    point = outcome.recovery_point
    lost = "unknown, as nothing runs" if point is None else f"{point.total_seconds():.1f} s"
    console.print(f"Recovery time: {outcome.recovery_time.total_seconds():.1f} s. Recovery point: {lost}.")
    if not outcome.restored.is_right:
        raise typer.Exit(1)
