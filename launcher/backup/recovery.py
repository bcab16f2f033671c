"""PostgreSQL's data at one moment, out of a chain of backups and the log since."""

import shutil
import signal
import subprocess
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psycopg2

from launcher.backup import database, wal
from launcher.backup.moment import Moment
from launcher.errors import LaunchError
from launcher.ports import any_free
from launcher.servers import Postgres
from launcher.servers.postgres import SETTINGS

POLL_SECONDS = 0.2
TIMEOUT_SECONDS = 5
LAST_LINES = 10

ENDED_EARLY = "recovery ended before configured recovery target was reached"
"""PostgreSQL's error when nothing was committed after the moment, before the log ends."""


def recover(postgres: Postgres, moment: Moment) -> datetime | None:
    """Makes the data of a server that does not run, and has none. Returns when its last change was committed, if there was one."""
    postgres.move_in()
    work = postgres.data.with_name("restoring")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(mode=0o700)
    try:
        data, log = work / "data", work / "log"
        database.combine([each.postgres for each in moment.era.chain(moment.backup)], data)
        _gather_log(moment, log)
        (data / "recovery.signal").touch()
        postgres.own(work)
        target = {"recovery_target_time": moment.at.isoformat()} if moment.at else {}
        last = _replay(postgres, data, log, target)
        data.rename(postgres.data)
        return last
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _gather_log(moment: Moment, folder: Path) -> None:
    """What has arrived of the last segment has the latest changes."""
    folder.mkdir(mode=0o700)
    backup = moment.backup
    for segment in wal.segments(moment.era.log, backup.timeline, backup.start):
        shutil.copyfile(segment.path, folder / segment.name)


def _replay(postgres: Postgres, data: Path, log: Path, target: dict[str, str]) -> datetime | None:
    """However long it takes: there may be much log. Stops the server afterwards."""
    port = any_free()
    settings = {
        **SETTINGS,
        "restore_command": f"cp '{log}/%f' '%p'",
        "recovery_target_timeline": "current",
        "recovery_target_action": "promote",
        **target,
    }
    said, waiting = data.with_name("said"), threading.Event()
    with said.open("wb") as output:
        process = subprocess.Popen(
            postgres.command(data, port, settings, bound=True), cwd=data.parent, stdout=output, stderr=output
        )
    url = f"postgresql://postgres:{postgres.secret('postgres')}@127.0.0.1:{port}/postgres"
    try:
        while process.poll() is None:
            if (last := _last_commit(url)) is not None:
                return last[0]
            waiting.wait(POLL_SECONDS)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
    lines = said.read_text(errors="replace").splitlines()
    if target and any(ENDED_EARLY in line for line in lines):
        return _replay(postgres, data, log, {})
    raise LaunchError("PostgreSQL could not be restored; its last lines:", lines[-LAST_LINES:])


def _last_commit(url: str) -> tuple[datetime | None] | None:
    """None until all is replayed."""
    try:
        with closing(psycopg2.connect(url, connect_timeout=TIMEOUT_SECONDS)) as connection:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_is_in_recovery(), pg_last_xact_replay_timestamp()")
                is_replaying, last = cursor.fetchone() or (True, None)
            if is_replaying:
                return None
            return (last.astimezone(UTC) if last else None,)
    except psycopg2.OperationalError:
        return None
