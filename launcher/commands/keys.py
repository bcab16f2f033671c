"""`./souk keys`: list and rotate the keys of this installation."""

from typing import Annotated

import typer
from rich.table import Table

from launcher import progress, running
from launcher.cli import app, command, console
from launcher.errors import LaunchError
from launcher.stack import Stack
from operators.keyring.rotation import ALGORITHMS

keys = typer.Typer(help="The keys for tokens and for calls between services.", no_args_is_help=True)
app.add_typer(keys, name="keys")


@keys.command("list")
@command
def show() -> None:
    """List the keys that sign and verify tokens, without secrets."""
    table = Table("key", "algorithm", "signs", "verifies until")
    stack = Stack(progress=progress.for_terminal())
    if not stack.installation.ports:
        running.ensure_up(stack)
    for number, key in enumerate(stack.services.keys.jwt_keys()):
        table.add_row(key["id"], key["algorithm"], "" if number else "yes", key["expires_at"] or "replaced")
    console.print(table)


@keys.command()
@command
def rotate(
    algorithm: Annotated[str, typer.Option(help=f"Of the new signing key: {', '.join(ALGORITHMS)}.")] = ALGORITHMS[0],
    drop_old: Annotated[
        bool,
        typer.Option(
            "--drop-old", help="For stolen keys: access tokens signed by the old one end now; refresh tokens live."
        ),
    ] = False,
) -> None:
    """Make new keys and put them to use without a restart; what the old ones signed holds until it ends."""
    if algorithm not in ALGORITHMS:
        raise LaunchError(f"There is no algorithm {algorithm} here; there are: {', '.join(ALGORITHMS)}.")
    stack = Stack(progress=progress.for_terminal())
    running.expect(stack, "postgres")
    signing = stack.rotate_keys(algorithm, drop_old)
    console.print(f"Tokens are signed with {signing} from now on, and services show new API keys to each other.")
