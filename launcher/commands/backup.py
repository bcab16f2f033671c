"""`./souk backup`: make backups, and see how good they are."""

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from launcher import running
from launcher.backup import create as creation
from launcher.backup import place, vault, verify
from launcher.backup import prune as pruning
from launcher.backup.target import VARIABLE, Target
from launcher.cli import app, command, console
from launcher.stack import Stack

backup = typer.Typer(help=f"Backups of databases, log, secrets and keys, in {VARIABLE}.", no_args_is_help=True)
app.add_typer(backup, name="backup")


@backup.command()
@command
def init() -> None:
    """Make SOUK_BACKUP_DIR a folder, or a part of a bucket, for backups, and print the key of the secrets in them."""
    stack = Stack()
    environment = stack.installation.environment
    stack.state.make()
    target = place.at(environment.get(VARIABLE, ""), stack.state, environment)
    key = vault.make_key(stack.state, environment)
    target.make()
    console.print(
        f"{target} is ready: ./souk up sends PostgreSQL's log there, and ./souk backup create makes a backup.\n"
        "Keep this key elsewhere: without it nobody can read the secrets in the backups once this machine is lost.\n"
        f"{vault.KEY_VARIABLE}={key}",
        soft_wrap=True,
    )


@backup.command()
@command
def create(
    full: Annotated[bool, typer.Option("--full", help="Not only what changed since the last one.")] = False,
) -> None:
    """Make a backup of what changed since the last one; the first has everything."""
    stack = Stack()
    running.expect(stack, "postgres", "mongo")
    target = _target(stack)
    made = creation.create(stack, target, full)
    what = f"what changed since {made.parent}" if made.parent else "everything"
    seconds = (made.ended_at - made.began_at).total_seconds()
    console.print(f"{made.name}: {what}, {made.megabytes()} MB in {seconds:.1f} s.", soft_wrap=True)


@backup.command("list")
@command
def show() -> None:
    """List the backups, oldest first."""
    table = Table("backup", "complete at (UTC)", "what", "MB")
    for era in _target(Stack()).eras():
        for made in era.backups():
            what = f"changes since {made.parent}" if made.parent else "everything"
            table.add_row(made.name, f"{made.ended_at:%Y-%m-%d %H:%M:%S}", what, str(made.megabytes()))
        table.add_section()
    console.print(table)


@backup.command("verify")
@command
def check() -> None:
    """Compare all files with their checksums, and look for gaps and damage in the log. Exits with 1 on faults."""
    stack = Stack()
    target = _target(stack)
    key = vault.key(stack.state, stack.installation.environment)
    count, faults = verify.examine(target, key)
    for fault in faults:
        console.print(escape(fault), soft_wrap=True)
    console.print(f"{count} backups, {len(faults)} faults.")
    if faults or not count:
        raise typer.Exit(1)


@backup.command()
@command
def prune(
    keep: Annotated[int, typer.Option(min=1, help="Full backups that stay, with those that build on them.")] = 2,
) -> None:
    """Delete older backups, and the log that no kept one needs."""
    pruned = pruning.prune(_target(Stack()), keep)
    console.print(f"{pruned.backups} backups and {pruned.segments} segments of the log are deleted.")


def _target(stack: Stack) -> Target:
    return place.opened(stack.state, stack.installation.environment)
