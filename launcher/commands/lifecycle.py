"""Start, stop and inspect the installation."""

from typing import Annotated

import typer

from launcher import demo, progress, report, running
from launcher.cli import Name, app, command, console
from launcher.errors import LaunchError
from launcher.manifests import SERVICES
from launcher.stack import Stack


@app.command()
@command
def up(
    observe: Annotated[
        bool | None,
        typer.Option(
            "--observe/--no-observe",
            help="Also VictoriaLogs for all logs and Jaeger for traces, from now on; Go builds them once.",
        ),
    ] = None,
    mesh: Annotated[
        bool | None,
        typer.Option(
            "--mesh/--no-mesh",
            help="Services call each other through Consul's proxies, by mutual TLS, and only where a manifest says so; "
            "from now on.",
        ),
    ] = None,
) -> None:
    """Start what is not running, and list the addresses. A first start ends with a paid demo order."""
    stack = Stack(progress=progress.for_terminal())
    if observe is not None:
        stack.state.make()
        stack.installation.is_observed = observe
        stack = Stack(progress=stack.progress)
    if mesh is not None:
        stack.state.make()
        stack.installation.is_meshed = mesh
    was_down = not stack.supervisor.is_running()
    started = stack.up()
    if was_down:
        try:
            report.order(console, demo.place_order(stack.gateway_url))
            demo.ensure_staff(stack)
        except LaunchError as error:
            raise LaunchError(f"Everything is running, but the demo order failed. {error}", error.last_lines) from error
    elif started:
        console.print(f"Started: {', '.join(started)}.")
    else:
        console.print("Everything was running already.")
    report.addresses(console, stack)
    report.memory_use(console, stack)
    console.print("Running in the background.  Stop: ./souk down   Another order: ./souk order   Status: ./souk status")


@app.command()
@command
def down(wipe: Annotated[bool, typer.Option("--wipe", help="Also delete all data, secrets and logs.")] = False) -> None:
    """Stop everything."""
    Stack().down(wipe)
    console.print("Everything is stopped" + (" and deleted." if wipe else "."))


@app.command()
@command
def status() -> None:
    """Show every program, Consul's catalogue and the addresses. Exits with 1 if a program is not ready."""
    stack = Stack()
    ready = running.readiness(stack)
    if not ready:
        running.ensure_up(stack)
    report.status(console, stack, ready)
    if not stack.supervisor.is_running():
        raise LaunchError("These run without their supervisor. ./souk up starts it, and restarts them.")
    if ready.get("consul", True):
        report.catalogue(console, stack)
    report.addresses(console, stack)
    report.outdated(console, stack)
    if lacking := [name for name, is_ready in ready.items() if not is_ready]:
        raise LaunchError(
            f"Not ready: {', '.join(lacking)}. ./souk up starts what is stopped; ./souk logs NAME says why."
        )


@app.command()
@command
def restart(service: Name) -> None:
    """Restart a program, or all of a service, and wait until it is ready. Instances restart one by one."""
    names = running.restart(Stack(), service)
    console.print(f"Restarted: {', '.join(names)}.")


@app.command()
@command
def renew(
    service: Annotated[str, typer.Argument(metavar="[SERVICE]", help="Also send its messages again.")] = "",
) -> None:
    """Make the queues that RabbitMQ has lost anew, after a full disk, and have their messages sent again."""
    services, count = running.renew(Stack(), service)
    if not services:
        console.print("No queue is lost.")
    else:
        console.print(
            f"The queues of {', '.join(services)} are complete; {count} messages are sent again, "
            "and those handled change nothing."
        )


@app.command()
@command
def order() -> None:
    """Place another demo order: a new customer registers, logs in, orders and pays."""
    stack = Stack()
    running.expect(stack, *running.servers_of(*SERVICES))
    report.order(console, demo.place_order(stack.gateway_url))


@app.command()
@command
def migrate() -> None:
    """Migrate every service's schema."""
    stack = Stack(progress=progress.for_terminal())
    running.expect(stack, "postgres")
    stack.migrate()
