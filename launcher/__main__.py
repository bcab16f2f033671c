"""The commands of `./souk`."""

import signal
import sys
from collections.abc import Callable
from functools import wraps
from typing import Annotated, ParamSpec

import typer
from rich.console import Console
from rich.markup import escape

from launcher import check as checks
from launcher import demo, logs, narrator, report, running, testing
from launcher.errors import LaunchError
from launcher.stack import Stack

app = typer.Typer(
    help="Souk on this machine: one command from nothing to a paid order.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

P = ParamSpec("P")
Name = Annotated[
    str, typer.Argument(metavar="SERVICE", help="A program as `status` names it, or a service for all of its.")
]


def command(function: Callable[P, None]) -> Callable[P, None]:
    """A command whose expected failures are one line, the last log lines of what died, and exit code 1."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except LaunchError as error:
            errors.print(f"[bold red]souk:[/] {escape(str(error))}", soft_wrap=True)
            for line in error.last_lines:
                errors.print(f"    {escape(line)}", soft_wrap=True)
            raise typer.Exit(1) from error
        except KeyboardInterrupt:
            errors.print("souk: interrupted; what was being started is stopped again.")
            raise typer.Exit(130) from None

    return run


@app.command()
@command
def up() -> None:
    """Start what is not running, and show where everything is. From nothing, this ends with a paid order."""
    stack = Stack(narrator=narrator.for_terminal())
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
    """Show each program: state, readiness, port, memory. Exits with 1 when one is not ready."""
    stack = Stack()
    running.ensure_up(stack)
    ready = running.readiness(stack)
    report.status(console, stack, ready)
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
    """Stop a program (or all of a service's) and start it again; returns when it is ready."""
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
    Stack(narrator=narrator.for_terminal()).migrate()


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
@command
def test(context: typer.Context) -> None:
    """Run the tests on servers of their own; arguments go to pytest. The whole suite must cover 90 % of each package."""
    code, covered = testing.run(context.args, narrator.for_terminal())
    if code or context.args:
        raise typer.Exit(code)
    report.coverage(console, covered, testing.LEAST_PERCENT)
    if any(percent is None or percent < testing.LEAST_PERCENT for percent in covered.values()) or not covered:
        raise LaunchError(f"Some package is covered less than {testing.LEAST_PERCENT:.0f} %: see the table.")


@app.command()
@command
def check() -> None:
    """Check style, types, imports between packages, and that the lock file is fresh."""
    failed = False
    for each in checks.CHECKS:
        outcome = each()
        failed = failed or not outcome.passed
        console.print(f"{'[green]OK    ' if outcome.passed else '[red]failed'}[/] {outcome.title}")
        if not outcome.passed:
            console.print(outcome.output, markup=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    # Ended from outside, a start must still stop what it started.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    sys.exit(app(prog_name="souk"))
