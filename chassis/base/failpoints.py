"""Crash points: places before and after every durable write and every send, where a test may have a process die.

    failpoints.point("publish stock.reserve")

The full name of a point is `<program>: <work in hand>: <name>`. Commits in PostgreSQL and writes in MongoDB are points by
themselves, once `arm` has run: no code can make one that has none. Unless armed, a point costs one comparison.

In the armed directory a file named as `file_of(point)` is a death sentence: the process that passes the point removes it and
ends by SIGKILL, as by a power cut, and lives after its restart. The file may say how many passings it lets go before. While a
file `recording` is there, each point that is passed is written to `passed`, one a line.
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
"""How statements begin that keep nothing; any other may."""

_directory: Path | None = None
_program = ""
_passing = threading.Lock()


def point(name: str) -> None:
    """Die here, if somebody is to."""
    if _directory is not None:
        _pass(_directory, f"{_program}: {get_contextvars().get('work', 'outside')}: {name}")


def file_of(name: str) -> str:
    """The file that arms the point of this full name."""
    return name.replace("/", "|")


def arm(directory: str, program: str) -> None:
    """Let this process's points be heeded. Before the first connection to a database is made."""
    global _directory, _program
    _directory, _program = Path(directory), program
    _watch_sql()
    _watch_mongo()


def _pass(directory: Path, name: str) -> None:
    if (directory / RECORDING).exists():
        with open(directory / PASSED, "a") as passed:
            passed.write(f"{name}\n")
    with _passing:
        if _is_fatal(directory / file_of(name)):
            os.kill(os.getpid(), signal.SIGKILL)


def _is_fatal(armed: Path) -> bool:
    try:
        spared = int(armed.read_text() or 0)
        if spared > 0:
            armed.write_text(str(spared - 1))
            return False
        armed.unlink()
    except FileNotFoundError:
        return False
    return True


def _watch_sql() -> None:
    """A commit that keeps something is a point before and a point after, on every engine of the process."""
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
        # A session gives its connection back as the first thing after its commit.
        if record.info.pop("kept", False):
            point("committed")
        record.info.pop("wrote", None)


def _watch_mongo() -> None:
    """Every command that writes is a point before and a point after, on every client of the process."""
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
