"""`./souk logs` and `./souk trace`: what the programs have written."""

import sys
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Annotated

import typer

from chassis.base.jaeger import Span
from launcher import running, story, traces
from launcher.cli import app, command
from launcher.entries import LEVELS, Entry, entries
from launcher.errors import LaunchError
from launcher.stack import Stack

MAX_TRACES = 20
"""Of which spans are shown."""

AsJSON = Annotated[bool, typer.Option("--json", help="One JSON object a line, with whole ids.")]


@app.command("logs")
@command
def show_logs(
    services: Annotated[
        list[str] | None, typer.Argument(metavar="[SERVICE]...", help="Programs or services; default: all.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing new entries.")] = False,
    count: Annotated[int, typer.Option("-n", min=0, help="Number of entries, without --trace and --order.")] = 50,
    trace: Annotated[str, typer.Option(help="Those of a trace or correlation id, or its first 8 characters.")] = "",
    order: Annotated[str, typer.Option(help="Those of an order, and of the requests and traces it went through.")] = "",
    since: Annotated[str, typer.Option(help="Such as 30s, 15m, 2h, 3d, or 2026-11-29T10:30.")] = "",
    level: Annotated[str, typer.Option(help=f"The lowest: {', '.join(LEVELS)}.")] = LEVELS[0],
    as_json: AsJSON = False,
) -> None:
    """Show the programs' logs as one, by time (UTC)."""
    if level not in LEVELS:
        raise LaunchError(f"There is no level {level}; there are: {', '.join(LEVELS)}.")
    if follow and (trace or order):
        raise LaunchError(
            "--follow shows new entries, and none of them is of a known id: leave out --trace and --order."
        )
    stack = Stack()
    logs = chosen(stack, services or ())
    choice = story.Choice(story.moment(since) if since else 0, level)
    if trace or order:
        show_entries(story.about(logs, order or trace, choice, is_order=bool(order)), as_json)
        return
    news = story.follow(lambda: chosen(stack, services or ()), choice) if follow else iter(())
    # From here on it misses nothing, and what is written meanwhile may be seen twice.
    next(news, None)
    shown = story.last(logs, count, choice)
    show_entries(shown, as_json)
    for found in news:
        show_entries([entry for entry in found if entry not in shown], as_json)
        shown = []


def chosen(stack: Stack, names: Sequence[str]) -> list[Path]:
    """Raises LaunchError."""
    logs = sorted(stack.state.logs.glob("*.log"))
    known = {log.stem for log in logs}
    for name in names:
        if not any(_is_of(each, name) for each in known):
            raise LaunchError(
                f"Unknown program {name}. Choose from: {', '.join(sorted(known)) or 'none yet; run ./souk up'}."
            )
    return [log for log in logs if not names or any(_is_of(log.stem, name) for name in names)]


def _is_of(program: str, name: str) -> bool:
    return name in (program, program.partition("-")[0])


def show_entries(found: Sequence[Entry], as_json: bool) -> None:
    is_coloured = sys.stdout.isatty()
    for entry in found:
        print(entry.to_json() if as_json else entry.to_text(is_coloured))
    sys.stdout.flush()


@app.command()
@command
def trace(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Of a trace, a request (X-Correlation-ID) or an order.")],
    as_json: AsJSON = False,
) -> None:
    """Tell the whole story of an order or a request: spans, if Jaeger runs, then events and log entries by time (UTC)."""
    stack = Stack()
    logged, orders = story.of(chosen(stack, ()), id_)
    events, failure = [], None
    try:
        if orders:
            running.expect(stack, "postgres")
            told = stack.run_once("orders", "services.orders.commands", "events", *orders)
            events = list(entries("order", told.splitlines()))
    except LaunchError as error:
        failure = error
    try:
        found = _spans(stack, logged)
    except LaunchError as error:
        found, failure = [], failure or error
    if as_json:
        show_entries([traces.to_entry(span) for spans in found for span in spans], as_json)
    for spans in [] if as_json else found:
        print(f"trace {spans[0].trace_id}", *traces.tree(spans), "", sep="\n")
    show_entries(sorted([*events, *logged], key=attrgetter("time")), as_json)
    if failure is not None:
        raise failure
    if not events and not logged:
        raise LaunchError(f"Nothing is known of {id_}: no order has this id, and no log goes back far enough.")


def _spans(stack: Stack, logged: Sequence[Entry]) -> list[list[Span]]:
    """By trace, the first one first; none without Jaeger."""
    if not stack.has("jaeger"):
        return []
    ids = dict.fromkeys(str(entry.fields["trace_id"]) for entry in logged if entry.fields.get("trace_id"))
    found = [traces.spans(stack.url("jaeger"), id_) for id_ in [*ids][:MAX_TRACES]]
    return [spans for spans in found if spans]
