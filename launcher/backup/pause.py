"""Holds up the writers of a MongoDB that stands alone, for as long as the program that asks for it needs, or lives.

`python -m launcher.backup.pause` reads the server's address, and waits for the end of its input. It is a program of its own, as the
server forgets no lock before it is restarted, and a backup may be killed.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pymongo

from launcher.errors import LaunchError
from launcher.state import REPOSITORY

TIMEOUT_MILLISECONDS = 10_000
SYNC_MILLISECONDS = 120_000
"""For all that MongoDB has not written yet."""

LAST_LINES = 5


@contextmanager
def paused(url: str) -> Iterator[None]:
    """Raises LaunchError if it was not, or not all the time."""
    with subprocess.Popen(
        [sys.executable, "-m", "launcher.backup.pause"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        # Whoever ends this program with its group does not end the other.
        start_new_session=True,
    ) as other:
        assert other.stdin
        assert other.stdout
        try:
            # It may have ended by now, and says why.
            with suppress(BrokenPipeError):
                other.stdin.write(f"{url}\n")
                other.stdin.flush()
            if other.stdout.readline():
                yield
        finally:
            _, said = other.communicate()
    if other.returncode:
        raise LaunchError("MongoDB's writers could not be held up; the last lines:", said.splitlines()[-LAST_LINES:])


def main() -> None:
    url = sys.stdin.readline().strip()
    with pymongo.MongoClient[dict[str, object]](
        url, serverSelectionTimeoutMS=TIMEOUT_MILLISECONDS, socketTimeoutMS=SYNC_MILLISECONDS
    ) as client:
        client.admin.command("fsync", lock=True)
        try:
            print("paused", flush=True)
            sys.stdin.read()
        finally:
            client.admin.command("fsyncUnlock")


if __name__ == "__main__":
    main()
