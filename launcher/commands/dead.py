"""`./souk dead list|show|replay`: inspect and replay dead letters. See chassis/run/dead_letters.py."""

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from launcher import running
from launcher.cli import app, command, console
from launcher.errors import LaunchError
from launcher.manifests import SERVICES
from launcher.stack import Stack
from launcher.state import REPOSITORY

UNROUTED = "unrouted"
PLACES = (*SERVICES, UNROUTED)

dead = typer.Typer(no_args_is_help=True, help="Dead letters: messages, tasks and rows that failed for good.")
app.add_typer(dead, name="dead")

Place = Annotated[str, typer.Argument(metavar="[SERVICE]", help=f"One of: {', '.join(PLACES)}; default: all.")]


@dead.command("list")
@command
def list_dead(service: Place = "") -> None:
    """List dead letters, oldest first in each queue. Nothing is consumed."""
    letters = _run(service, "list")
    if not letters:
        console.print("No dead letters.")
        return
    table = Table("id", "queue", "type", "since", "error", box=None, padding=(0, 2, 0, 0))
    for letter in letters:
        table.add_row(*(escape(str(letter[name])) for name in ("id", "queue", "type", "since", "error")))
    console.print(table)
    console.print("Details: ./souk dead show ID   Replay: ./souk dead replay ID, or --all; --dry-run first")


@dead.command("show")
@command
def show_dead(
    letter_id: Annotated[str, typer.Argument(metavar="ID")], service: Annotated[str, typer.Option()] = ""
) -> None:
    """Show a dead letter with headers and body, without secrets."""
    letters = _run(service, "show", letter_id)
    if not letters:
        raise LaunchError(f"No dead letter has the id {letter_id}: see ./souk dead list.")
    for letter in letters:
        console.print_json(json.dumps(letter))


@dead.command("replay")
@command
def replay_dead(
    letter_ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All dead letters, or all of --service.")] = False,
    service: Annotated[str, typer.Option(help=f"One of: {', '.join(PLACES)}.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be sent where.")] = False,
) -> None:
    """Send dead letters back to their queues. Those handled meanwhile change nothing."""
    if bool(letter_ids) == everything:
        raise LaunchError("Give the ids, or --all.")
    chosen = letter_ids or ["--all"]
    letters = _run(service, "replay", *chosen, *(["--dry-run"] if dry_run else []))
    for letter in letters:
        verb = "would be sent" if dry_run else "sent"
        console.print(f"{escape(letter['type'])} {letter['id']} {verb} to {escape(letter['details']['to'])}")
    missing = set(letter_ids or []) - {letter["id"] for letter in letters}
    if missing:
        raise LaunchError(f"No such dead letters: {', '.join(sorted(missing))}.")
    if not letters:
        console.print("No dead letters.")


def _run(place: str, *arguments: str) -> list[dict[str, Any]]:
    """Run `python -m chassis.run.dead_letters` for each place in its service's environment; returns the letters."""
    if place and place not in PLACES:
        raise LaunchError(f"Unknown service {place}. Choose from: {', '.join(PLACES)}.")
    stack = Stack()
    running.ensure_up(stack)
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda each: _run_one(stack, each, *arguments), [place] if place else PLACES)
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
