"""`./souk chaos`: kill every program at every point of an order's life, on a temporary installation."""

import subprocess
import sys

import typer

from launcher.cli import app, command
from launcher.state import REPOSITORY


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
@command
def chaos(context: typer.Context) -> None:
    """Kill programs at every point of an order's life, one by one, and write docs/crash-table.md (over 20 minutes).

    `--life LIFE` runs one life only, `--go-on` only points that the table lacks or has as failed.
    """
    line = [sys.executable, "-m", "tests.chaos", *context.args]
    if code := subprocess.run(line, cwd=REPOSITORY, check=False).returncode:
        raise typer.Exit(code)
