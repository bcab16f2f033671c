"""`python -m launcher`, as `./souk` calls it."""

import signal
import sys

import launcher.commands  # noqa: F401 - importing registers the commands
from launcher.cli import app

if __name__ == "__main__":
    # An interrupted start must still stop what it started.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    sys.exit(app(prog_name="souk"))
