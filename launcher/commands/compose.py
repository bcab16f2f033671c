"""`./souk compose`: compose.yaml, the whole platform for Docker."""

import tempfile
from pathlib import Path

import typer

from launcher.cli import app, command, console

compose = typer.Typer(help="The whole platform for Docker, from official images.", no_args_is_help=True)
app.add_typer(compose, name="compose")


@compose.command()
@command
def generate() -> None:
    """Write compose.yaml from the services' manifests and the chart's servers."""
    from launcher import compose as made
    from launcher.kubernetes import chart, place

    with tempfile.TemporaryDirectory() as folder:
        made.FILE.write_text(made.text(chart.programs(place.stack(Path(folder), {}))))
    console.print(made.FILE.name)


@compose.command()
@command
def secrets() -> None:
    """Make the passwords and keys that compose.yaml names, at the first call, and write them into the state folder."""
    from launcher import compose as made
    from launcher.kubernetes import place
    from launcher.state import StateFolder

    made.write_secrets(place.stack(), StateFolder().path / "compose")
    console.print("To start: docker compose up --build --wait")
