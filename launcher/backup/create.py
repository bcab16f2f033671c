"""Makes a backup of a running installation."""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg2

from launcher.backup import database, documents, receiver, vault, wal
from launcher.backup.target import Backup, Era, Target, write
from launcher.errors import LaunchError
from launcher.manifests import WITH_MONGO
from launcher.servers import Mongo, Postgres
from launcher.servers.postgres import BACKUP, tools
from launcher.stack import Stack

SECRETS = "secrets.sealed"
BANK = Path("bank", "bank.sqlite3")
"""The sandbox's books. A real provider keeps its own."""

LOG_SECONDS = 120
POLL_SECONDS = 0.2


def create(stack: Stack, target: Target, full: bool = False) -> Backup:
    """Complete, with the log that it needs. full: not only what changed since the last."""
    postgres = expect_own(stack)
    key = vault.key(stack.state, stack.installation.environment)
    with target.lock(), _for_the_owner():
        era = current_era(postgres, target)
        target.drop_unfinished(era)
        last = next(iter(era.backups()[-1:]), None)
        began_at = datetime.now(UTC)
        with target.making(era, began_at) as folder:
            return _create(stack, postgres, target, era, folder, None if full else last, key, began_at)


def expect_own(stack: Stack) -> Postgres:
    """Raises LaunchError for an external PostgreSQL."""
    postgres = stack.servers["postgres"]
    assert isinstance(postgres, Postgres)
    if postgres.given:
        raise LaunchError(f"Backups of the PostgreSQL at {postgres.variable} are its operator's.")
    return postgres


def current_era(postgres: Postgres, target: Target) -> Era:
    """Raises LaunchError unless its log is received."""
    era = next(iter(target.eras()[-1:]), None)
    try:
        if era is not None and receiver.behind_bytes(postgres.backup_url, era) is not None:
            return era
    except psycopg2.Error as error:
        raise LaunchError(f"PostgreSQL: {' '.join(str(error).split())}") from error
    raise LaunchError(f"{target} does not receive PostgreSQL's log: ./souk up, then ./souk logs {BACKUP}.")


def copy_bank(books: Path, copy: Path, until: datetime | None = None) -> None:
    """until: without charges that were made later, for orders that a restore does not know."""
    if not books.exists():
        return
    copy.parent.mkdir(mode=0o700, exist_ok=True)
    with closing(sqlite3.connect(books)) as source, closing(sqlite3.connect(copy)) as sink:
        source.backup(sink)
        if until is not None:
            sink.execute(
                "CREATE TEMP TABLE late AS SELECT id FROM charges WHERE julianday(created_at) > julianday(?)",
                [until.isoformat()],
            )
            sink.execute("DELETE FROM webhooks WHERE charge_id IN late")
            sink.execute("DELETE FROM refunds WHERE charge_id IN late")
            sink.execute(
                "DELETE FROM idempotency_keys WHERE EXISTS (SELECT 1 FROM late WHERE instr(response, late.id))"
            )
            sink.execute("DELETE FROM charges WHERE id IN late")
            sink.commit()


# --- inside


@contextmanager
def _for_the_owner() -> Iterator[None]:
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _create(
    stack: Stack,
    postgres: Postgres,
    target: Target,
    era: Era,
    folder: Path,
    last: Backup | None,
    key: str,
    began_at: datetime,
) -> Backup:
    # Documents first: messages of PostgreSQL's services bring them up to date, not the other way round.
    mongo = stack.servers["mongo"]
    assert isinstance(mongo, Mongo)
    for name in WITH_MONGO:
        documents.dump(mongo.url, name, folder / "mongo" / name)
    copy_bank(stack.state.data / BANK, folder / BANK)
    write(folder / SECRETS, vault.seal(stack.state, key))
    copied = database.copy(postgres, folder / "postgres", target.base(last) if last else None)
    _await_log(postgres, target, era, copied)
    backup = Backup(
        folder=folder,
        parent=last.name if last else "",
        began_at=began_at,
        ended_at=datetime.now(UTC),
        timeline=copied.timeline,
        start=copied.start,
        end=copied.end,
        digests=_digests(folder),
    )
    return target.keep(backup)


def _digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    ours = (path for path in files if not path.is_relative_to(folder / "postgres"))
    return {path.relative_to(folder).as_posix(): database.digest(path) for path in ours}


def _await_log(postgres: Postgres, target: Target, era: Era, copied: database.Copied) -> None:
    """A copy without the log that was written meanwhile cannot be started."""
    deadline, waiting = time.monotonic() + LOG_SECONDS, threading.Event()
    while receiver.behind_bytes(postgres.backup_url, era, copied.end) != 0 or not target.has_log(
        era, copied.timeline, copied.end
    ):
        if time.monotonic() > deadline:
            raise LaunchError(f"The log did not arrive within {LOG_SECONDS} s: ./souk logs {BACKUP} shows why.")
        waiting.wait(POLL_SECONDS)
    if faults := wal.faults(tools(), era.log, copied.timeline, copied.start, copied.end, target.system):
        raise LaunchError(f"The backup cannot be used: {faults[0]}.")
