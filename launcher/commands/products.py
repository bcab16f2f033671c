"""The catalogue of this installation, to and from files."""

import json
import subprocess
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from launcher import running
from launcher.cli import app, command, console
from launcher.errors import LaunchError
from launcher.stack import Stack
from launcher.state import REPOSITORY

products = typer.Typer(help="The catalogue, to and from files.", no_args_is_help=True)
app.add_typer(products, name="products")

File = Annotated[Path, typer.Argument(metavar="FILE", help="A .csv or .jsonl file.", dir_okay=False)]


@products.command("import")
@command
def import_(file: File) -> None:
    """Add or change products, by SKU. Stopped in the middle, the same command goes on. Exits with 1 when a row was refused."""
    told = _run("import", file)
    counts = {name: count for name, count in told.items() if name not in ("at", "of", "skipped")}
    console.print(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items()) or "No rows.")
    if counts.get("stock_ignored"):
        console.print("Stock ignored: those rows state another stock than is on hand, which an import never changes.")
    if counts.get("refused"):
        console.print(f"Why rows were refused: {file}.refused.jsonl")
        raise typer.Exit(1)


@products.command()
@command
def export(file: File) -> None:
    """Write every product, what is off sale too, in a form that `import` understands."""
    console.print(f"{_run('export', file)['exported']} products written to {file}.")


def _run(verb: str, file: Path) -> dict[str, Any]:
    """What the service told last of its work. Raises LaunchError with what it said when it could not."""
    stack = Stack()
    running.ensure_up(stack)
    arguments, environment = stack.services.one_shot(
        "products", "services.products.commands", verb, str(file.absolute())
    )
    told: dict[str, Any] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"), TimeRemainingColumn())
    with (
        Progress(*columns, console=console, transient=True) as progress,
        subprocess.Popen(
            arguments, env=environment, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        bar = progress.add_task(verb, total=None, told="")
        for line in process.stdout:
            told |= json.loads(line)
            _draw(progress, bar, told)
        said = process.stderr.read().strip()
    if process.returncode and said:
        raise LaunchError(said.splitlines()[-1])
    return told


def _draw(progress: Progress, bar: TaskID, told: dict[str, Any]) -> None:
    counts = ", ".join(f"{count} {name}" for name, count in told.items() if name not in ("at", "of", "skipped"))
    progress.update(bar, completed=told.get("at", 0), total=told.get("of"), told=counts)
