"""`./souk dead list|show|replay`: messages, tasks and rows that were given up, seen and tried again. See chassis/run/dead_letters.py."""

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
from launcher.services import SERVICES
from launcher.stack import Stack
from launcher.state import REPOSITORY

UNROUTED = "unrouted"
PLACES = (*SERVICES, UNROUTED)

dead = typer.Typer(
    no_args_is_help=True, help="What was given up: list it, show one, replay it once its cause is mended."
)
app.add_typer(dead, name="dead")

Place = Annotated[str, typer.Argument(metavar="[SERVICE]", help=f"One of: {', '.join(PLACES)}; all unless named.")]


@dead.command("list")
@command
def list_dead(service: Place = "") -> None:
    """List what was given up, oldest first in each place. Nothing is consumed."""
    letters = _ask(service, "list")
    if not letters:
        console.print("Nothing is dead.")
        return
    table = Table("id", "queue", "type", "since", "error", box=None, padding=(0, 2, 0, 0))
    for letter in letters:
        table.add_row(*(escape(str(letter[name])) for name in ("id", "queue", "type", "since", "error")))
    console.print(table)
    console.print("One of them: ./souk dead show ID   Try again: ./souk dead replay ID, or --all, first with --dry-run")


@dead.command("show")
@command
def show_dead(
    letter_id: Annotated[str, typer.Argument(metavar="ID")], service: Annotated[str, typer.Option()] = ""
) -> None:
    """Show one with its headers and body, secrets blanked."""
    letters = _ask(service, "show", letter_id)
    if not letters:
        raise LaunchError(f"Nothing that is dead has the id {letter_id}: ./souk dead list shows all.")
    for letter in letters:
        console.print_json(json.dumps(letter))


@dead.command("replay")
@command
def replay_dead(
    letter_ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that is dead, or all of --service.")] = False,
    service: Annotated[str, typer.Option(help=f"One of: {', '.join(PLACES)}.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be sent where.")] = False,
) -> None:
    """Send back to where it was to be handled. What is handled already does no harm: it is known."""
    if bool(letter_ids) == everything:
        raise LaunchError("Name the letters, or say --all.")
    chosen = letter_ids or ["--all"]
    letters = _ask(service, "replay", *chosen, *(["--dry-run"] if dry_run else []))
    for letter in letters:
        verb = "would go" if dry_run else "went"
        console.print(f"{escape(letter['type'])} {letter['id']} {verb} to {escape(letter['details']['to'])}")
    missing = set(letter_ids or []) - {letter["id"] for letter in letters}
    if missing:
        raise LaunchError(f"Not among the dead (any more): {', '.join(sorted(missing))}.")
    if not letters:
        console.print("Nothing is dead.")


def _ask(place: str, *arguments: str) -> list[dict[str, Any]]:
    """What the places say, each asked in its service's own environment."""
    if place and place not in PLACES:
        raise LaunchError(f"There is no {place}; there are: {', '.join(PLACES)}.")
    stack = Stack()
    running.ensure_up(stack)
    with ThreadPoolExecutor(2) as pool:
        answers = pool.map(lambda each: _ask_one(stack, each, *arguments), [place] if place else PLACES)
        return [letter for answer in answers for letter in answer]


def _ask_one(stack: Stack, place: str, *arguments: str) -> list[dict[str, Any]]:
    service, package = ("orders", UNROUTED) if place == UNROUTED else (place, f"services.{place}")
    line, environment = stack.services.one_shot(service, "chassis.run.dead_letters", package, *arguments)
    done = subprocess.run(line, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1) or (done.returncode and done.stderr):
        raise LaunchError(f"{place} could not be asked; its last lines:", done.stderr.rstrip().splitlines()[-15:])
    return [json.loads(letter) for letter in done.stdout.splitlines()]
