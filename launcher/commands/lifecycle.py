"""Start, stop and look at the installation of this machine."""

from typing import Annotated

import typer

from launcher import demo, logs, progress, report, running
from launcher.cli import Name, app, command, console
from launcher.errors import LaunchError
from launcher.stack import Stack


@app.command()
@command
def up() -> None:
    """Start what is not running, and show where everything is. From nothing, this ends with a paid order."""
    stack = Stack(progress=progress.for_terminal())
    was_down = not stack.supervisor.is_running()
    started = stack.up()
    if was_down:
        try:
            report.order(console, demo.place_order(stack.gateway_url))
        except LaunchError as error:
            raise LaunchError(
                f"Everything is running, but the first order failed. {error}", error.last_lines
            ) from error
    elif started:
        console.print(f"Started again: {', '.join(started)}.")
    else:
        console.print("Everything was running already.")
    report.addresses(console, stack)
    report.memory_use(console, stack)
    console.print("It runs in the background. Stop it: ./souk down   Another order: ./souk order   Look: ./souk status")


@app.command()
@command
def down(wipe: Annotated[bool, typer.Option("--wipe", help="Also delete all data, secrets and logs.")] = False) -> None:
    """Stop everything."""
    Stack().down(wipe)
    console.print("Everything is stopped" + (", and its state is deleted." if wipe else "."))


@app.command()
@command
def status() -> None:
    """Show each program: state, readiness, port, memory; and Consul's catalogue. Exits with 1 when one is not ready."""
    stack = Stack()
    running.ensure_up(stack)
    ready = running.readiness(stack)
    report.status(console, stack, ready)
    report.catalogue(console, stack)
    if not all(ready.values()):
        raise typer.Exit(1)


@app.command("logs")
@command
def show_logs(
    service: Name,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written from now.")] = False,
    count: Annotated[int, typer.Option("-n", min=0, help="How many of the last lines.")] = 50,
) -> None:
    """Show what a program wrote."""
    stack = Stack()
    files = {name: stack.state.logs / f"{name}.log" for name in running.named(stack, service)}
    for line in logs.lines(files, count, follow):
        print(line, flush=True)


@app.command()
@command
def restart(service: Name) -> None:
    """Stop a program (or all of a service's) and start it again; returns when it is ready. Instances go one after the other."""
    names = running.restart(Stack(), service)
    console.print(f"Restarted: {', '.join(names)}.")


@app.command()
@command
def order() -> None:
    """Place the demo order again: a new customer registers, logs in, orders and pays."""
    stack = Stack()
    running.ensure_up(stack)
    report.order(console, demo.place_order(stack.gateway_url))


@app.command()
@command
def migrate() -> None:
    """Bring every service's schema up to date."""
    Stack(progress=progress.for_terminal()).migrate()
