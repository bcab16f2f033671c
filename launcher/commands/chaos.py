"""`./souk chaos`: kills every program at every point of an order's life, on an installation of its own."""

import subprocess
import sys

import typer

from launcher.cli import app, command
from launcher.state import REPOSITORY


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
@command
def chaos(context: typer.Context) -> None:
    """Kill a program at every point of an order's life, one after the other, and write docs/crash-table.md (20 minutes and more).

    `--life LIFE` tries only one of the lives, `--go-on` only what the table lacks or has as failed.
    """
    line = [sys.executable, "-m", "tests.chaos", *context.args]
    if code := subprocess.run(line, cwd=REPOSITORY, check=False).returncode:
        raise typer.Exit(code)
