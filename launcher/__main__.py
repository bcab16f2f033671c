"""`python -m launcher`, as `./souk` calls it."""

import logging
import signal
import sys

import launcher.commands  # noqa: F401 - importing registers the commands
from launcher.cli import app

if __name__ == "__main__":
    # An interrupted start must still stop what it started.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    # A message that arrives while its channel is being closed returns to its queue.
    logging.getLogger("amqp").setLevel(logging.ERROR)
    sys.exit(app(prog_name="souk"))
