"""Receives PostgreSQL's write-ahead log into the folder of backups, or a bucket, while it is written.

`python -m launcher.backup.receiver TARGET STATE BINARIES`. It waits for a folder or server that is away, and goes on where it stopped, as
PostgreSQL keeps the log in a replication slot. When it could not keep all of it, a new era begins, which needs a full backup.
"""

import os
import signal
import subprocess
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg2
from structlog import get_logger

from chassis.base import health, telemetry
from launcher.backup import place, wal
from launcher.backup.target import Era, Target
from launcher.errors import LaunchError
from launcher.state import StateFolder

PAUSE_SECONDS = 2.0
TIMEOUT_SECONDS = 10

CREATED_AT = telemetry.OwnGauge(
    "souk_backup_created_timestamp_seconds", "When the newest backup was complete, 0 without one."
)
PROVEN_AT = telemetry.OwnGauge(
    "souk_restore_proven_timestamp_seconds", "When a restore was last proved right, 0 for never."
)

LOST = "lost"
"""A slot whose log PostgreSQL has not kept."""

log = get_logger(__name__)


class Receiver:
    def __init__(self, target: Target, url: str, binaries: Path) -> None:
        """url: of the role that may replicate."""
        self._target, self._url, self._binaries = target, url, binaries
        self._stopping = threading.Event()
        self._error = "starts"

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._receive(self._era())
            except (LaunchError, OSError, psycopg2.Error) as error:
                self._fail(" ".join(str(error).split()))
            self._stopping.wait(PAUSE_SECONDS)

    def stop(self, *_: object) -> None:
        self._stopping.set()

    def check(self) -> None:
        """Raises unless the log is received."""
        if self._error:
            raise ConnectionError(self._error)

    # --- inside

    def _fail(self, error: str) -> None:
        """Logged once, not at every attempt."""
        if error != self._error:
            log.warning("log is not received", error=error)
        self._error = error

    def _era(self) -> Era:
        """The one that goes on, or a new one."""
        self._target.expect_ready()
        with closing(_connect(self._url)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT system_identifier::text FROM pg_control_system()")
            self._target.claim(cursor.fetchone()[0])
            cursor.execute("SELECT slot_name, wal_status FROM pg_replication_slots WHERE slot_name ~ '^souk_backup_'")
            slots = dict(cursor.fetchall())
            current = next((era for era in self._target.eras()[-1:] if slots.get(era.slot, LOST) != LOST), None)
            for slot in slots.keys() - {current.slot if current else ""}:
                # It would keep log for nobody.
                cursor.execute("SELECT pg_drop_replication_slot(%s)", (slot,))
            if current is None:
                current = self._target.begin_era(datetime.now(UTC))
                cursor.execute("SELECT pg_create_physical_replication_slot(%s, true)", (current.slot,))
                log.info("era begins", era=current.name)
            return current

    def _receive(self, era: Era) -> None:
        """Until it is stopped. Raises LaunchError when it fails."""
        # While no more may wait, each attempt would receive more before it is refused.
        self._target.pass_on(era)
        wal.drop_unmade(era.log)
        server = urlsplit(self._url)
        # Command lines are public.
        url = urlunsplit(server._replace(netloc=f"{server.username}@{server.hostname}:{server.port}"))
        command: list[str | Path] = [
            *("setpriv", "--pdeathsig=KILL", self._binaries / "pg_receivewal", "--dbname", url, "--no-password"),
            *("--directory", era.log, "--slot", era.slot, "--synchronous", "--no-loop"),
        ]
        environment = {**os.environ, "PGPASSWORD": server.password or ""}
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            try:
                while process.poll() is None and not self._stopping.wait(PAUSE_SECONDS):
                    self._look(era)
            finally:
                process.terminate()
                _, said = process.communicate()
                if self._stopping.is_set():
                    self._target.pass_on(era, is_last=True)
        if not self._stopping.is_set():
            raise LaunchError(said.strip() or f"pg_receivewal ended with {process.returncode}")

    def _look(self, era: Era) -> None:
        late = self._target.pass_on(era)
        backups = era.backups()
        CREATED_AT.set(backups[-1].ended_at.timestamp() if backups else 0)
        PROVEN_AT.set(self._target.proven_at())
        # That it runs is not enough: it may hang.
        behind = behind_bytes(self._url, era)
        if late:
            self._fail(late)
        elif behind is None or behind > wal.SEGMENT:
            self._fail(f"{behind} bytes of the log are not received yet")
        else:
            self._error = ""


def behind_bytes(url: str, era: Era, position: int | None = None) -> int | None:
    """Bytes of the log, to this position or its end, that are not on the folder's disk; None while nobody receives it."""
    query = (
        "SELECT pg_wal_lsn_diff(coalesce(%s::pg_lsn, pg_current_wal_flush_lsn()), restart_lsn)"
        " FROM pg_replication_slots WHERE slot_name = %s AND active"
    )
    until = None if position is None else wal.position_text(position)
    with closing(_connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(query, (until, era.slot))
        row = cursor.fetchone()
        return None if row is None else max(0, int(row[0]))


def _connect(url: str) -> Any:
    connection = psycopg2.connect(url, connect_timeout=TIMEOUT_SECONDS)
    connection.autocommit = True
    return connection


def main(target: str, state: str, binaries: str) -> None:
    telemetry.configure_logging("backup", "info")
    receiver = Receiver(
        place.at(target, StateFolder(Path(state)), os.environ), os.environ["SOUK_DATABASE_URL"], Path(binaries)
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, receiver.stop)
    health.serve(health.Health({"log": receiver.check}), "127.0.0.1", int(os.environ["SOUK_PORT"]))
    receiver.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
