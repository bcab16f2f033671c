"""Proves that the last backup and the log since lead back, on servers of its own, beside a running installation.

Nothing of the environment reaches them: neither servers nor providers that it names, nor the folder of backups.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg2

from launcher.backup import moment, scratch, vault, verify
from launcher.backup.create import BANK
from launcher.backup.moment import Moment
from launcher.backup.restore import Restored, rebuild, unpack_secrets
from launcher.backup.target import Target
from launcher.errors import LaunchError
from launcher.progress import Progress
from launcher.servers import SERVERS, Postgres
from launcher.stack import Stack
from launcher.state import StateFolder

PREFIX = "souk-restore-"
STATE = "state"

ALONE = {
    # The sandbox stands for every provider; a push would go to customers' devices.
    "SOUK_PROVIDER": "sandbox",
    "SOUK_PUSH_HOSTS": json.dumps(["127.0.0.1"]),
}


@dataclass
class Drill:
    restored: Restored
    recovery_time: timedelta
    """From the backup to agreement."""

    recovery_point: timedelta | None
    """How much was lost, had everything ended when the drill began; None if the installation did not run."""


def prove(live: Stack, target: Target, at: datetime | None, progress: Progress) -> Drill:
    """at: the end of the log by default. Raises LaunchError for a backup that cannot be used."""
    key = vault.key(live.state, live.installation.environment)
    lost_at = _mark(live)
    began = time.monotonic()
    with target.lock():
        found = moment.find(target, at)
        with target.at_hand(found.era, [found.backup], as_elsewhere=True) as near:
            found = moment.find(near, at)
            if faults := verify.faults(near, found.era, found.backup, key):
                raise LaunchError(f"The backup {found.backup.name} cannot be used:", faults)
            with scratch.temporary(Path(tempfile.gettempdir()), PREFIX, forget) as folder, alone():
                restored = _rebuild(folder, live, found, key, progress)
    drill = Drill(
        restored,
        timedelta(seconds=time.monotonic() - began),
        max(timedelta(), lost_at - restored.last_commit) if lost_at and restored.last_commit and at is None else None,
    )
    if restored.is_right:
        _note(target, drill)
    return drill


def forget(folder: Path) -> None:
    """What a killed drill has left. Its programs ended with it."""
    StateFolder(folder / STATE).wipe()
    shutil.rmtree(folder)


def beside(folder: Path, progress: Progress) -> Stack:
    """Without Prometheus: nobody looks at its metrics."""
    servers = [name for name in SERVERS if name != "prometheus"]
    return Stack(folder / STATE, servers=servers, standard_ports=False, bound=True, progress=progress)


# --- inside


def _rebuild(folder: Path, live: Stack, found: Moment, key: str, progress: Progress) -> Restored:
    stack = beside(folder, progress)
    stack.state.make()
    try:
        unpack_secrets(stack, found, key)
        books = live.state.data / BANK
        return rebuild(stack, found, books if books.exists() else None)
    finally:
        stack.down(wipe=True)


@contextmanager
def alone() -> Iterator[None]:
    """Without any setting of the installation."""
    given = {name: value for name, value in os.environ.items() if name.startswith("SOUK_")}
    for name in given:
        del os.environ[name]
    os.environ.update(ALONE)
    try:
        yield
    finally:
        for name in ALONE:
            os.environ.pop(name, None)
        os.environ.update(given)


def _mark(live: Stack) -> datetime | None:
    """Commits something, so that there is a last change, and returns when. None if the installation does not run."""
    postgres = live.servers["postgres"]
    assert isinstance(postgres, Postgres)
    if postgres.given or not live.supervisor.is_running():
        return None
    try:
        with closing(psycopg2.connect(postgres.url, connect_timeout=10)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT now() FROM pg_logical_emit_message(true, 'souk', 'drill')")
                [moment_] = cursor.fetchone() or (None,)
                return moment_.astimezone(UTC) if moment_ else None
    except psycopg2.OperationalError:
        return None


def _note(target: Target, drill: Drill) -> None:
    values: Mapping[str, object] = {
        "at": datetime.now(UTC).isoformat(),
        "backup": drill.restored.moment.backup.name,
        "recovery_time_seconds": round(drill.recovery_time.total_seconds(), 1),
        "recovery_point_seconds": None if drill.recovery_point is None else drill.recovery_point.total_seconds(),
    }
    target.note_proof(json.dumps(values, indent=2).encode())
