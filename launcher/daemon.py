"""supervisord for an installation:

- Of a killed program it ends the whole process group: granian's workers would hold the port.
- It never gives a program up, so that all come back once there is space on the disk.
- It survives a log that cannot be written.
- With a pipe as its input it ends when the pipe is closed, as its starter has then ended.
- With --forks, Python programs are forks of it; see forking.py.
"""

import os
import shlex
import signal
import stat
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from supervisor import supervisord
from supervisor.loggers import Handler, RotatingFileHandler
from supervisor.options import ServerOptions
from supervisor.process import Subprocess

from launcher import forking

STDIN = 0

MAX_BACKOFF_SECONDS = 10
"""Between starts. Less than `startretries`."""

_finish, _transition, _emit = Subprocess.finish, Subprocess.transition, RotatingFileHandler.emit
_spawn = Subprocess.spawn

shared = forking.Shared()


def finish(process: Subprocess, pid: int, status: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    _finish(process, pid, status)


def transition(process: Subprocess) -> None:
    process.backoff = min(process.backoff, MAX_BACKOFF_SECONDS)
    _transition(process)


def emit(handler: RotatingFileHandler, record: Any) -> None:
    # A failed rotation leaves the file closed.
    with suppress(OSError, ValueError):
        if handler.stream.closed:
            handler.reopen()
        _emit(handler, record)


def end_with_starter() -> None:
    if stat.S_ISFIFO(os.fstat(STDIN).st_mode):
        threading.Thread(target=_wait_for_starter, daemon=True).start()


def _wait_for_starter() -> None:
    while os.read(STDIN, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def spawn(process: Subprocess) -> int | None:
    if forking.description(Path(shlex.split(process.config.command)[-1])).exists():
        shared.wait()
    pid: int | None = _spawn(process)
    return pid


def execve(_: ServerOptions, filename: str, command: list[str], environment: dict[str, str]) -> None:
    description = forking.description(Path(command[-1]))
    if description.exists() and shared.are_current():
        forking.run(description, environment)
    os.execve(filename, command, environment)  # noqa: S606 - as the supervisor itself does


if __name__ == "__main__":
    Subprocess.finish, Subprocess.transition = finish, transition
    RotatingFileHandler.emit, Handler.handleError = emit, lambda _: None
    end_with_starter()
    if forking.OPTION in sys.argv:
        sys.argv.remove(forking.OPTION)
        Subprocess.spawn, ServerOptions.execve = spawn, execve
        shared.start()
    supervisord.main()
