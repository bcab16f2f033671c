"""`./souk settings`: the reference."""

from launcher import settings as found
from launcher.cli import app, command


@app.command()
@command
def settings() -> None:
    """Print the reference of all settings, in Markdown."""
    print(found.reference(), end="")
