"""A streaming replica of the tests' PostgreSQL server."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest

from launcher.ports import any_free
from tests.conftest import need_local_servers, server_url
from tests.installation import until


class Standby:
    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self.process, self._port = process, port

    def url(self, primary: str) -> str:
        """Of the same database as the primary's `primary`."""
        parts = urlsplit(primary)
        return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{self._port}"))

    def pause(self) -> None:
        """What is committed from now on does not come."""
        self.ask("SELECT pg_wal_replay_pause()")
        until(lambda: self.ask("SELECT pg_get_wal_replay_pause_state()") == "paused")

    def resume(self) -> None:
        self.ask("SELECT pg_wal_replay_resume()")

    def catch_up(self) -> None:
        position = _ask(server_url("POSTGRES"), "SELECT pg_current_wal_flush_lsn()")
        until(lambda: self.ask(f"SELECT pg_last_wal_replay_lsn() >= '{position}'"))

    def ask(self, query: str) -> Any:
        return _ask(self.url(server_url("POSTGRES")), query)

    def is_ready(self) -> bool:
        try:
            return bool(self.ask("SELECT true"))
        except psycopg2.OperationalError:
            assert self.process.poll() is None
            return False


def _ask(url: str, query: str) -> Any:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(query)
            [value] = cursor.fetchone() or (None,)
            return value
    finally:
        connection.close()


@contextmanager
def standing_by() -> Iterator[Standby]:
    need_local_servers("a replica starts with the primary's own programs, as its user.")
    primary = server_url("POSTGRES")
    binaries = Path(_ask(primary, "SELECT setting FROM pg_config() WHERE name = 'BINDIR'"))
    owner = os.stat(_ask(primary, "SHOW data_directory"))
    with tempfile.TemporaryDirectory(prefix="souk-standby-") as name:
        os.chown(name, owner.st_uid, owner.st_gid)
        data, port = Path(name) / "data", any_free()
        who = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        copy = [binaries / "pg_basebackup", "-d", primary, "-D", data, "-R", "-X", "stream", "-c", "fast", "--no-sync"]
        subprocess.run(copy, cwd=name, check=True, capture_output=True, **who)
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "port": str(port),
            "max_connections": _ask(primary, "SHOW max_connections"),
            "shared_buffers": "16MB",
            "io_method": "sync",
        }
        process = subprocess.Popen(
            [binaries / "postgres", "-D", data, *(f"--{name}={value}" for name, value in settings.items())],
            cwd=name,
            stderr=subprocess.DEVNULL,
            **who,
        )
        try:
            standby = Standby(process, port)
            until(standby.is_ready)
            yield standby
        finally:
            # SIGQUIT: at once. The data is not needed.
            process.send_signal(3)
            process.wait()
            shutil.rmtree(data, ignore_errors=True)


@pytest.fixture(scope="session")
def standby() -> Iterator[Standby]:
    """It runs, and has caught up."""
    with standing_by() as started:
        yield started
