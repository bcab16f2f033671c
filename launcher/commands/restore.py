"""`./souk restore`: put everything back as it was at one moment."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape

from launcher import progress
from launcher.backup import moment, place
from launcher.backup.restore import Restored
from launcher.backup.restore import restore as put_back
from launcher.cli import app, command, console
from launcher.errors import LaunchError
from launcher.stack import Stack


@app.command()
@command
def restore(
    to: Annotated[
        str, typer.Option(metavar="TIME", help="ISO 8601, UTC unless it says otherwise; default: the end of the log.")
    ] = "",
) -> None:
    """Put everything back as it was, from SOUK_BACKUP_DIR, and open when all services agree. The present data is kept aside."""
    stack = Stack(progress=progress.for_terminal())
    target = place.opened(stack.state, stack.installation.environment)
    restored = put_back(stack, target, moment.find(target, parsed(to)))
    tell(restored)
    if not restored.is_right:
        raise typer.Exit(1)


def parsed(time: str) -> datetime | None:
    if not time:
        return None
    try:
        found = datetime.fromisoformat(time)
    except ValueError:
        raise LaunchError(f"{time} is no time: expected ISO 8601, for example 2026-11-29T14:30:00.") from None
    return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)


def tell(restored: Restored) -> None:
    last = restored.last_commit
    console.print(
        f"From the backup {restored.moment.backup.name}; last change {moment.text(last) if last else 'none'}."
    )
    console.print(f"{restored.sent_again} messages were sent again; those handled changed nothing.")
    for title, seconds in restored.seconds.items():
        console.print(f"{seconds:>7.1f} s  {title}")
    for line in restored.agreement.results:
        console.print(escape(line), soft_wrap=True)
    if restored.agreement.for_a_person:
        console.print("[bold]For a person to decide:")
    for line in restored.agreement.for_a_person:
        console.print(f"    {escape(line)}", soft_wrap=True)
