"""`./souk products`: import and export the catalogue."""

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

products = typer.Typer(help="Import and export the catalogue.", no_args_is_help=True)
app.add_typer(products, name="products")

File = Annotated[Path, typer.Argument(metavar="FILE", help="A .csv or .jsonl file.", dir_okay=False)]


@products.command("import")
@command
def import_(file: File) -> None:
    """Add or change products by SKU. An interrupted import resumes. Exits with 1 if a row was rejected."""
    result = _run("import", file)
    counts = {name: count for name, count in result.items() if name not in ("at", "of", "skipped")}
    lines = counts.pop("lines", 0)
    rows = sum(count for name, count in counts.items() if name != "stock_ignored")
    listed = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items()) or "no rows"
    console.print(f"{lines} lines: {listed}, {lines - rows} header, blank or further lines of a row.")
    if counts.get("stock_ignored"):
        console.print("Stock ignored: these rows differ from the stock on hand, which an import never changes.")
    if counts.get("refused"):
        console.print(f"Rejected rows with reasons: {file}.refused.jsonl")
        raise typer.Exit(1)


@products.command()
@command
def export(file: File) -> None:
    """Write every product, including those off sale, in the format that `import` reads."""
    console.print(f"{_run('export', file)['exported']} products written to {file}.")


def _run(verb: str, file: Path) -> dict[str, Any]:
    """The service's last progress record. Raises LaunchError with its error message."""
    stack = Stack()
    running.expect(stack, "mongo")
    arguments, environment = stack.services.one_shot(
        "products", "services.products.commands", verb, str(file.absolute())
    )
    state: dict[str, Any] = {}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[counts]}"),
        TimeRemainingColumn(),
    )
    with (
        Progress(*columns, console=console, transient=True) as progress,
        subprocess.Popen(
            arguments, env=environment, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        bar = progress.add_task(verb, total=None, counts="")
        for line in process.stdout:
            state |= json.loads(line)
            _draw(progress, bar, state)
        error = process.stderr.read().strip()
    if process.returncode and error:
        raise LaunchError(error.splitlines()[-1])
    return state


def _draw(progress: Progress, bar: TaskID, state: dict[str, Any]) -> None:
    counts = ", ".join(f"{count} {name}" for name, count in state.items() if name not in ("at", "of", "skipped"))
    progress.update(bar, completed=state.get("at", 0), total=state.get("of"), counts=counts)
