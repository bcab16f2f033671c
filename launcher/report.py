"""What commands print."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from time import time

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from launcher import catalogue as catalogue_of
from launcher import memory, running
from launcher.demo import Order
from launcher.stack import Stack

MEGABYTE = 1_000_000


def order(console: Console, order: Order) -> None:
    console.print(f"\n[bold]Order {order.id}[/]\n{escape(order.product)}, {order.total}, for {order.customer}")
    table = _table("event", "ms")
    for hop in order.timeline:
        table.add_row(hop.title, f"{hop.milliseconds:.0f}")
    table.add_row("[bold]placed to confirmed", f"[bold]{order.total_milliseconds:.0f}")
    console.print(table)


def addresses(console: Console, stack: Stack) -> None:
    console.print("\n[bold]Where to look")
    table = _table("what", "address", right=())
    for title, address in running.addresses(stack):
        table.add_row(title, address)
    console.print(table)


def memory_use(console: Console, stack: Stack) -> None:
    sizes = memory.by_program(running.pids(stack))
    total = sum(sizes.values())
    console.print("\n[bold]Memory[/] (PSS: shared pages are divided among the processes that share them)")
    table = _table("program", "MB")
    for program, size in sizes.items():
        table.add_row(program, f"{size / MEGABYTE:.0f}")
    table.add_row("[bold]total", f"[bold]{total / MEGABYTE:.0f}")
    console.print(table)
    if total > memory.LIMIT_BYTES:
        over = (total - memory.LIMIT_BYTES) / MEGABYTE
        limit = memory.LIMIT_BYTES / MEGABYTE
        console.print(f"[red]{over:.0f} MB over the budget of {limit:.0f} MB; see the top of the table.")


def status(console: Console, stack: Stack, ready: Mapping[str, bool]) -> None:
    statuses, ports = running.statuses(stack), stack.installation.ports
    sizes = memory.by_program({name: each.pid for name, each in statuses.items()})
    table = _table("program", "state", "ready", "pid", "port", "up for", "MB", right=(3, 4, 5, 6))
    for name, each in sorted(statuses.items()):
        up_for = str(timedelta(seconds=int(time()) - each.started_at)) if each.pid else ""
        is_ready = {True: "[green]yes", False: "[red]no"}.get(ready.get(name, each.pid > 0))
        size = f"{sizes.get(name, 0) / MEGABYTE:.0f}"
        table.add_row(name, each.state.lower(), is_ready, str(each.pid or ""), str(ports.get(name, "")), up_for, size)
    console.print(table)


def catalogue(console: Console, stack: Stack) -> None:
    if not stack.has("consul"):
        return
    console.print("\n[bold]Catalogue[/] (from Consul)")
    table = _table("service", "instance", "address", "version", "health", right=())
    for each in catalogue_of.read(stack):
        colour = "red" if not each.is_alive else "yellow" if each.failing else "green"
        health = f"[{colour}]{escape('; '.join(each.failing)) or 'passing'}"
        table.add_row(each.service, each.instance, each.address, each.version, health)
    console.print(table)


def outdated(console: Console, stack: Stack) -> None:
    """Servers of which flaws are no longer mended."""
    lines = [line for name, server in stack.servers.items() if stack.has(name) and (line := server.outdated())]
    if lines:
        console.print("\n[bold]Past their support")
    for line in lines:
        console.print(line)


def coverage(console: Console, percentages: Mapping[str, float | None], min_percent: float) -> None:
    console.print("\n[bold]Coverage[/] (lines and branches)")
    table = _table("package", "%")
    for package, percentage in percentages.items():
        enough = percentage is not None and percentage >= min_percent
        shown = "no files" if percentage is None else f"{percentage:.1f}"
        table.add_row(package, f"[{'green' if enough else 'red'}]{shown}")
    console.print(table)


def _table(*columns: str, right: Iterable[int] = (1,)) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index in right else "left", overflow="fold")
    return table
