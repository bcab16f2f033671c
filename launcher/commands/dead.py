"""`./souk dead list|show|replay`: inspect and replay dead letters. See chassis/run/dead_letters.py."""

import json
import math
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.markup import escape

from chassis.messaging import broker
from chassis.messaging.dead_letters import DeadLetterQueue
from launcher import running
from launcher.cli import app, command, console
from launcher.errors import LaunchError
from launcher.manifests import SERVICES
from launcher.stack import Stack
from launcher.state import REPOSITORY

UNROUTED = "unrouted"
PLACES = (*(name for name, manifest in SERVICES.items() if manifest.has_queue), UNROUTED)

MAX_CELL = 200
"""Characters of it in a list."""

dead = typer.Typer(no_args_is_help=True, help="Dead letters: messages, tasks and rows that failed for good.")
app.add_typer(dead, name="dead")

Place = Annotated[str, typer.Argument(metavar="[SERVICE]", help=f"One of: {', '.join(PLACES)}; default: all.")]


@dead.command("list")
@command
def list_dead(
    service: Place = "",
    page: Annotated[int, typer.Option(min=1, help="Which one of the list.")] = 1,
    size: Annotated[int, typer.Option(min=1, max=1_000, help="Letters a page.")] = 20,
) -> None:
    """Count dead letters, and list a page of them, oldest first in each queue. Nothing is consumed."""
    places = _places(service)
    stack = Stack()
    running.expect(stack, "rabbitmq", "postgres")
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda place: [*_sources(stack, place, page * size)], places)
        queues = [source for sources in found for source in sources]
    counts = [(source.title, source.count) for source in queues if source.count]
    total = sum(count for _, count in counts)
    if not total:
        console.print("No dead letters.")
        return
    for title, count in [*counts, ("total", total)]:
        console.print(f"{count:>8,}  {title}", markup=False, emoji=False)
    for line in _aligned([_row(letter) for letter in _page(queues, (page - 1) * size, size)]):
        console.print(line, markup=False, emoji=False, soft_wrap=True)
    pages = math.ceil(total / size)
    console.print(f"Page {page} of {pages}" + (f"; next: --page {page + 1}" if page < pages else ""))
    console.print("Details: ./souk dead show ID", "Replay: ./souk dead replay ID, or --all; --dry-run first", sep="\n")


@dead.command("show")
@command
def show_dead(
    letter_id: Annotated[str, typer.Argument(metavar="ID")], service: Annotated[str, typer.Option()] = ""
) -> None:
    """Show a dead letter with headers and body, without secrets."""
    places = _places(service)
    stack = Stack()
    running.expect(stack, "rabbitmq", "postgres")
    with_rows = [place for place in places if _has_rows(place)]
    queues = [_queue(stack, place) for place in places if place not in with_rows]
    found = [asdict(letter) for queue in queues for letter in queue.find(letter_id)]
    with ThreadPoolExecutor(2) as pool:
        for letters in pool.map(lambda place: _run_one(stack, place, "show", letter_id), with_rows):
            found += letters
    if not found:
        raise LaunchError(f"No dead letter has the id {letter_id}: see ./souk dead list.")
    for letter in found:
        console.print_json(json.dumps(letter))


@dead.command("replay")
@command
def replay_dead(
    letter_ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All dead letters, or all of --service.")] = False,
    service: Annotated[str, typer.Option(help=f"One of: {', '.join(PLACES)}.")] = "",
    reason: Annotated[str, typer.Option(help="Kept in the operators' trail.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be sent where.")] = False,
) -> None:
    """Send dead letters back to their queues. Those handled meanwhile change nothing."""
    if bool(letter_ids) == everything:
        raise LaunchError("Give the ids, or --all.")
    chosen = letter_ids or ["--all"]
    letters = _run(service, "replay", *chosen, f"--reason={reason}", *(["--dry-run"] if dry_run else []))
    for letter in letters:
        verb = "would be sent" if dry_run else "sent"
        console.print(f"{escape(letter['type'])} {letter['id']} {verb} to {escape(letter['details']['to'])}")
    missing = set(letter_ids or []) - {letter["id"] for letter in letters}
    if missing:
        raise LaunchError(f"No such dead letters: {', '.join(sorted(missing))}.")
    if not letters:
        console.print("No dead letters.")


@dataclass(frozen=True)
class Source:
    """A queue, or a service's abandoned rows."""

    title: str
    count: int
    oldest: Callable[[int], list[dict[str, Any]]]


def _sources(stack: Stack, place: str, limit: int) -> Iterator[Source]:
    """limit: of rows to read."""
    queue = _queue(stack, place)
    yield Source(queue.name, queue.count(), lambda count: [asdict(letter) for letter in queue.letters(count)])
    if _has_rows(place):
        counted, *rows = _run_one(stack, place, "rows", str(limit))
        yield Source(f"rows of {place}", counted["count"], lambda count: rows[:count])


def _queue(stack: Stack, place: str) -> DeadLetterQueue:
    """To read."""
    name = broker.UNROUTED if place == UNROUTED else broker.dead_letter_queue(place).name
    return DeadLetterQueue(stack.backing.broker, name, None)


def _has_rows(place: str) -> bool:
    return place != UNROUTED and SERVICES[place].has_dead_rows


def _row(letter: dict[str, Any]) -> list[str]:
    cells = letter["id"], _moment(letter["since"]), letter["queue"], letter["type"], letter["error"]
    # Whoever sent it wrote most of them.
    return [" ".join(str(cell).split())[:MAX_CELL] for cell in cells]


def _moment(time: str) -> str:
    """To the second, in UTC, as brokers' times are that name no zone."""
    try:
        found = datetime.fromisoformat(time)
    except ValueError:
        return time
    return f"{found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Below a head. Each stays one line, also in a pipe."""
    table = [("id", "since (UTC)", "queue", "type", "error"), *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        yield "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip()


def _page(sources: Sequence[Source], skip: int, size: int) -> list[dict[str, Any]]:
    """Only as many are read as it needs."""
    found: list[dict[str, Any]] = []
    for source in sources:
        if skip < source.count and len(found) < size:
            found += source.oldest(skip + size - len(found))[skip:]
        skip = max(0, skip - source.count)
    return found


def _places(service: str) -> Sequence[str]:
    if service and service not in PLACES:
        raise LaunchError(f"Unknown service {service}. Choose from: {', '.join(PLACES)}.")
    return [service] if service else PLACES


def _run(place: str, *arguments: str) -> list[dict[str, Any]]:
    """Run `python -m chassis.run.dead_letters` for each place in its service's environment; returns the letters."""
    places = _places(place)
    stack = Stack()
    running.expect(stack, "rabbitmq", "postgres")
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda each: _run_one(stack, each, *arguments), places)
        return [letter for letters in found for letter in letters]


def _run_one(stack: Stack, place: str, *arguments: str) -> list[dict[str, Any]]:
    service, package = ("orders", UNROUTED) if place == UNROUTED else (place, f"services.{place}")
    line, environment = stack.services.one_shot(service, "chassis.run.dead_letters", package, *arguments)
    done = subprocess.run(line, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1) or (done.returncode and done.stderr):
        raise LaunchError(
            f"The dead letters of {place} could not be read; the last lines:", done.stderr.rstrip().splitlines()[-15:]
        )
    return [json.loads(letter) for letter in done.stdout.splitlines()]
