"""`./souk new service`: start a service from a template that already works."""

from typing import Annotated

import typer

from launcher import new_service
from launcher.cli import app, command, console

new = typer.Typer(help="Add a service to the repository.", no_args_is_help=True)
app.add_typer(new, name="new")


@new.callback()
def _group() -> None:
    """Typer makes a single command the group itself, unless the group has a callback."""


@new.command()
@command
def service(
    name: Annotated[str, typer.Argument(help="Plural, lower case, also the URL: reviews.")],
    record: Annotated[str, typer.Option(help="The singular, where it is not the name without its s.")] = "",
) -> None:
    """Write a service with API, model, migration, messages, routes and tests, which runs as it is."""
    for file in new_service.write(name, record):
        console.print(str(file))
    console.print(f"Check it: ./souk check   Test it: ./souk test tests/{name}   Run it: ./souk up")
