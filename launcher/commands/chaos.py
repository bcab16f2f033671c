"""`./souk chaos`: kills every program at every point of an order's life, on an installation of its own."""

import subprocess
import sys

import typer

from launcher.cli import app, command
from launcher.state import REPOSITORY


@app.command()
@command
def chaos() -> None:
    """Kill a program at every point of an order's life, one after the other, and write docs/crash-table.md (20 minutes and more)."""
    code = subprocess.run([sys.executable, "-m", "tests.chaos"], cwd=REPOSITORY, check=False).returncode
    if code:
        raise typer.Exit(code)
