"""`./souk top`: what needs attention, live; the figures of the console's overview."""

import time
from typing import Annotated, Any

import typer
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from launcher import running
from launcher.cli import app, command, console
from launcher.errors import LaunchError
from launcher.stack import Stack
from services.console import figures, prometheus
from services.console.figures import Figure, Watched

TIMEOUT_SECONDS = 4


@app.command()
@command
def top(
    once: Annotated[bool, typer.Option("--once", help="Print the figures, and end.")] = False,
    every: Annotated[float, typer.Option(min=0.5, help="Seconds between two looks.")] = 2.0,
) -> None:
    """Show alerts, stuck orders, dead letters, queues, breakers and error budgets, live. Ctrl-C ends it."""
    stack = Stack()
    running.ensure_up(stack)
    if not stack.has("prometheus"):
        raise LaunchError("There is no Prometheus, which has the figures: ./souk status shows programs.")
    shown = _shown(_watched(stack))
    if once:
        console.print(shown)
        return
    with Live(shown, console=console, screen=True) as live:
        while True:
            time.sleep(every)
            live.update(_shown(_watched(stack)))


def _watched(stack: Stack) -> Watched:
    """Raises LaunchError."""
    query = prometheus.at(stack.url("prometheus"), TIMEOUT_SECONDS)
    if (watched := figures.read(query)) is None:
        raise running.unavailable(stack, "prometheus")
    return watched


def _shown(watched: Watched) -> RenderableType:
    alerts = [f"[bold red]{escape(_alert(each))}[/]" for each in watched.alerts] or ["[green]No alert is firing.[/]"]
    lists = [Panel(_table(rows), title=title) for title, rows in watched.lists.items() if rows]
    return Group(*alerts, "", _table(watched.numbers), Columns(lists))


def _alert(labels: Any) -> str:
    about = labels.get("program") or labels.get("app") or labels.get("queue") or ""
    return f"{labels['alertname']} is firing{f' for {about}' if about else ''}."


def _table(rows: Any) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(overflow="fold")
    table.add_column(justify="right")
    for each in rows:
        assert isinstance(each, Figure)
        table.add_row(escape(each.title), f"[red]{escape(each.text)}[/]" if each.is_bad else escape(each.text))
    return table
