"""Places around durable writes and sends where a test can kill the process.

A point's full name is `<program>: <current work>: <name>`. Arming adds points for PostgreSQL commits and MongoDB writes.

A file named by `file_of` triggers a point: the process removes it and dies by SIGKILL. It may hold how many times to pass
first. While `recording` exists, points passed are appended to `passed`.
"""

import os
import signal
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from structlog.contextvars import get_contextvars

RECORDING = "recording"
PASSED = "passed"

_MONGO_WRITES = frozenset({"insert", "update", "delete", "findAndModify", "bulkWrite"})
_SQL_READS = ("SELECT", "SHOW", "SET", "SAVEPOINT", "RELEASE", "ROLLBACK")

_AND = ", "

_directory: Path | None = None
_program = ""
_passing = threading.Lock()


def point(name: str) -> None:
    """Passed once for each work, if the current one is several: see `together`."""
    if _directory is not None:
        for work in get_contextvars().get("work", "outside").split(_AND):
            _pass(_directory, f"{_program}: {work}: {name}")


def together(works: Iterable[str]) -> str:
    """The current work of what is done for all of them at once."""
    return _AND.join(sorted(set(works)))


def file_of(name: str) -> str:
    """Takes the full name."""
    return name.replace("/", "|")


def arm(directory: str, program: str) -> None:
    """Call before the first database connection."""
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
        # A session returns its connection right after commit.
        if record.info.pop("kept", False):
            point("committed")
        record.info.pop("wrote", None)


def _watch_mongo() -> None:
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
