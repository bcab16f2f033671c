"""Controls this installation's supervisord over its socket."""

import http.client
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import xmlrpc.client
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import Faults

from launcher import forking, processes
from launcher.errors import Cancelled, LaunchError
from launcher.logs import last_lines
from launcher.program import Program
from launcher.state import REPOSITORY, StateFolder

RUNNING_STATES = frozenset({"RUNNING", "STARTING", "BACKOFF"})
"""States in which a program is kept up."""

UNREACHABLE = (OSError, http.client.HTTPException, xmlrpc.client.Error)
"""Raised when it is not running, or is shutting down."""

RESPONSE_SECONDS = 60
"""For a busy machine."""

MAX_EXITS = 3
"""Before the program is ready."""

PID_FILE = "supervisord.pid"

# A socket's path has at most 107 characters, with the dot and pid that the supervisor appends.
SOCKET_PATH_LIMIT = 95

# Nothing else of the user's environment, which may have secrets, such as URLs with passwords.
INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")


PYTHON_PROCESS = {
    "PYTHONUNBUFFERED": "1",
    # By default glibc keeps freed memory in 8 heaps per core.
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    # A title must leave the environment as it is: processes.py reads it.
    "SPT_NOENV": "1",
}
"""Read when a process starts, so that forks of the supervisor need them from it."""


@dataclass(frozen=True)
class Status:
    state: str
    pid: int
    started_at: int
    """Unix time."""


class Unresponsive(LaunchError):
    """It runs, and its programs too."""

    def __init__(self, pid: int) -> None:
        super().__init__(
            f"The supervisor (process {pid}) hangs; its programs may go on. "
            f"kill -CONT {pid} continues one that is stopped, ./souk down ends everything."
        )


class Supervisor:
    def __init__(self, state: StateFolder) -> None:
        self._state = state
        self._configuring = threading.Lock()
        self.socket = _socket_path(state)
        self._daemon: subprocess.Popen[bytes] | None = None

    # --- the supervisor itself

    def is_running(self) -> bool:
        return self.pid() is not None

    def pid(self) -> int | None:
        try:
            with self._api() as api:
                return int(api.getPID())
        except UNREACHABLE:
            return None

    def start(self, seconds: float = 15.0, bound: bool = False, forks: bool = False) -> None:
        """Ends what a killed one left behind.

        bound: all end with this process, even if it is killed. forks: see forking.py.
        """
        if self.is_running():
            return
        processes.end(self._state.token)
        self.socket.unlink(missing_ok=True)
        log = self._state.logs / "supervisor.log"
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        environment |= {processes.TOKEN_VARIABLE: self._state.token, **PYTHON_PROCESS}
        options = [forking.OPTION] if forks and forking.IS_AVAILABLE else []
        with open(log, "ab") as output:
            self._daemon = daemon = subprocess.Popen(
                [sys.executable, "-m", "launcher.daemon", *options, "-n", "-c", self._write_configuration()],
                cwd=REPOSITORY,
                env=environment,
                stdin=subprocess.PIPE if bound else subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + seconds
        while not self.is_running():
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise LaunchError("The supervisor did not start.", last_lines(log))
            time.sleep(0.05)

    def shut_down(self, seconds: float = 20.0) -> None:
        """Programs first, then what remains."""
        with suppress(*UNREACHABLE, Unresponsive):
            self.stop(self.statuses())
            with self._api() as api:
                api.shutdown()
            deadline = time.monotonic() + seconds
            while self.is_running() and time.monotonic() < deadline:
                time.sleep(0.05)
        processes.end(self._state.token)
        self.socket.unlink(missing_ok=True)

    # --- its programs

    def statuses(self) -> dict[str, Status]:
        """Empty when no supervisor runs."""
        try:
            with self._api() as api:
                return {each["name"]: _status(each) for each in api.getAllProcessInfo()}
        except UNREACHABLE:
            return {}

    def orphans(self) -> dict[str, Status]:
        """Programs that outlived the supervisor."""
        if self.is_running():
            return {}
        found = processes.programs(self._state.token).items()
        return {name: Status("UNSUPERVISED", process.pid, int(process.create_time())) for name, process in found}

    def ensure(self, program: Program) -> bool:
        """True if it had to be started."""
        with self._configuring, self._api() as api:
            program.write(self._state)
            ((added, changed, _),) = api.reloadConfig()
            if program.name in changed:
                self.stop([program.name])
                api.removeProcessGroup(program.name)
            if program.name in (*added, *changed):
                api.addProcessGroup(program.name)
            if self.statuses()[program.name].state in RUNNING_STATES:
                return False
            api.startProcess(program.name, False)
            return True

    def keep_only(self, names: Iterable[str]) -> None:
        """Stop and remove the others."""
        gone = set(self.statuses()) - set(names)
        self.stop(gone)
        for name in gone:
            (self._state.programs / name).unlink(missing_ok=True)
            for ending in (".conf", ".json"):
                (self._state.programs / f"{name}{ending}").unlink(missing_ok=True)
            with self._api() as api:
                api.removeProcessGroup(name)

    def restart(self, name: str) -> None:
        self.stop([name])
        self.start_program(name)

    def start_program(self, name: str) -> None:
        with self._api() as api:
            api.startProcess(name, False)

    def stop(self, names: Iterable[str]) -> None:
        """All at once."""
        names = list(names)
        with self._api() as api:
            for name in names:
                try:
                    api.stopProcess(name, False)
                except xmlrpc.client.Fault as fault:
                    if fault.faultCode not in (Faults.NOT_RUNNING, Faults.BAD_NAME):
                        raise
            while any(s.state in {*RUNNING_STATES, "STOPPING"} for n, s in self.statuses().items() if n in names):
                time.sleep(0.05)

    def wait_until(
        self, name: str, probe: Callable[[], None], seconds: float, cancelled: threading.Event | None = None
    ) -> None:
        """Raises LaunchError, early when the program keeps exiting."""
        cancelled = cancelled or threading.Event()
        deadline = time.monotonic() + seconds
        starts: set[int] = set()
        while True:
            try:
                return probe()
            except Exception as error:  # six protocols, each with its library's own errors
                reason = " ".join(str(error).split()) or type(error).__name__
            status = self.statuses().get(name)
            if status:
                starts.add(status.started_at)
                if status.state in ("FATAL", "STOPPED") or len(starts) > MAX_EXITS:
                    raise LaunchError(f"{name} exited at start; its last log lines:", self.log_tail(name))
            if time.monotonic() > deadline:
                message = f"{name} was not ready after {seconds:.0f} s ({reason[:200]}); its last log lines:"
                raise LaunchError(message, self.log_tail(name))
            if cancelled.wait(0.1):
                raise Cancelled(name)

    def log_tail(self, name: str) -> list[str]:
        return last_lines(self._state.logs / f"{name}.log")

    # --- inside

    @contextmanager
    def _api(self) -> Iterator[Any]:
        pid = self._recorded_pid()
        if pid and processes.is_stopped(pid, self._state.token):
            raise Unresponsive(pid)
        transport = _Transport(self.socket)
        try:
            # The address is unused.
            yield xmlrpc.client.ServerProxy("http://127.0.0.1", transport).supervisor
        except TimeoutError as error:
            raise Unresponsive(pid) from error
        finally:
            transport.close()

    def _recorded_pid(self) -> int:
        """0 when it does not run."""
        try:
            return int((self._state.path / PID_FILE).read_text())
        except (OSError, ValueError):
            return 0

    def _write_configuration(self) -> Path:
        values: Mapping[str, object] = {
            "socket": self.socket,
            "log": self._state.logs / "supervisord.log",
            "pid": self._state.path / PID_FILE,
            "folder": self._state.path,
            "programs": self._state.programs,
        }
        escaped = {name: str(value).replace("%", "%%") for name, value in values.items()}
        return self._state.write("supervisord.conf", _CONFIGURATION.format(**escaped))


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = self._connection[1] or _Connection(self._path)
        self._connection = host, connection
        return connection


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(RESPONSE_SECONDS)
        self.sock.connect(str(self._path))


_CONFIGURATION = """[unix_http_server]
file={socket}
chmod=0700

[supervisord]
logfile={log}
logfile_maxbytes=1000000
logfile_backups=1
pidfile={pid}
childlogdir={folder}
silent=true

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[include]
files={programs}/*.conf
"""


def _status(info: Mapping[str, Any]) -> Status:
    return Status(str(info["statename"]), int(info["pid"]), int(info["start"]))


def _socket_path(state: StateFolder) -> Path:
    path = state.path / "supervisor.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT:
        return path
    folder = Path(tempfile.gettempdir()) / f"souk-{os.getuid()}-{state.token[:12]}"
    folder.mkdir(mode=0o700, exist_ok=True)
    owner = folder.lstat()
    if owner.st_uid != os.getuid() or owner.st_mode & 0o077:
        raise LaunchError(f"{folder} belongs to another user: remove it, or choose another SOUK_STATE_DIR.")
    return folder / "supervisor.sock"
