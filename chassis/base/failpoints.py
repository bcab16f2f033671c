"""Failpoints: places before and after every durable write and every send, where a test can kill the process.

    failpoints.point("publish stock.reserve")

The full name of a point is `<program>: <current work>: <name>`. Once `arm` has run, every commit in PostgreSQL and every write
in MongoDB is a point by itself. Unless armed, a point costs one comparison.

A file in the armed directory, named by `file_of(point)`, triggers the point: the process that reaches it removes the file and
ends by SIGKILL. The file may hold how many times to pass first. While a file `recording` exists, each point passed is appended
to `passed`, one per line.
"""

import os
import signal
import threading
from pathlib import Path
from typing import Any

from structlog.contextvars import get_contextvars

RECORDING = "recording"
PASSED = "passed"

_MONGO_WRITES = frozenset({"insert", "update", "delete", "findAndModify", "bulkWrite"})
_SQL_READS = ("SELECT", "SHOW", "SET", "SAVEPOINT", "RELEASE", "ROLLBACK")
"""How statements begin that write nothing; any other may."""

_directory: Path | None = None
_program = ""
_passing = threading.Lock()


def point(name: str) -> None:
    """Die here if this point is triggered."""
    if _directory is not None:
        _pass(_directory, f"{_program}: {get_contextvars().get('work', 'outside')}: {name}")


def file_of(name: str) -> str:
    """The file that triggers the point of this full name."""
    return name.replace("/", "|")


def arm(directory: str, program: str) -> None:
    """Enable the points of this process. Call it before the first connection to a database."""
    global _directory, _program
    _directory, _program = Path(directory), program
    _watch_sql()
    _watch_mongo()


def _pass(directory: Path, name: str) -> None:
    if (directory / RECORDING).exists():
        with open(directory / PASSED, "a") as passed:
            passed.write(f"{name}\n")
    with _passing:
        if _is_triggered(directory / file_of(name)):
            os.kill(os.getpid(), signal.SIGKILL)


def _is_triggered(armed: Path) -> bool:
    try:
        remaining = int(armed.read_text() or 0)
        if remaining > 0:
            armed.write_text(str(remaining - 1))
            return False
        armed.unlink()
    except FileNotFoundError:
        return False
    return True


def _watch_sql() -> None:
    """Make points before and after every commit that wrote something, on every engine of the process."""
    from sqlalchemy import Engine, event
    from sqlalchemy.pool import Pool

    @event.listens_for(Engine, "before_cursor_execute")
    def note(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.lstrip().upper().startswith(_SQL_READS):
            connection.info["wrote"] = True

    @event.listens_for(Engine, "commit")
    def before(connection: Any) -> None:
        if connection.info.get("wrote"):
            point("commit")
            connection.info["kept"] = True

    @event.listens_for(Pool, "checkin")
    def after(_connection: Any, record: Any) -> None:
        # A session returns its connection right after its commit.
        if record.info.pop("kept", False):
            point("committed")
        record.info.pop("wrote", None)


def _watch_mongo() -> None:
    """Make points before and after every command that writes, on every client of the process."""
    from pymongo import monitoring

    class Watch(monitoring.CommandListener):
        def __init__(self) -> None:
            self._collections: dict[int, str] = {}

        def started(self, event: Any) -> None:
            if event.command_name in _MONGO_WRITES:
                self._collections[event.request_id] = event.command[event.command_name]
                point(f"{event.command_name} {event.command[event.command_name]}")

        def succeeded(self, event: Any) -> None:
            if (collection := self._collections.pop(event.request_id, None)) is not None:
                point(f"{event.command_name} {collection}, done")

        def failed(self, event: Any) -> None:
            self._collections.pop(event.request_id, None)

    monitoring.register(Watch())
