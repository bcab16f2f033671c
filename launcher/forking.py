"""Runs Python programs as forks of the supervisor, which imports what they share: less memory, and a faster start.

Settings and connections come after the fork. When what is shared has changed, a program starts by its script as elsewhere, so that a
restart runs the code of the moment.
"""

import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from setproctitle import setproctitle

from launcher import processes
from launcher.state import REPOSITORY

SHARED = (
    "argon2",
    "babel.dates",
    "babel.numbers",
    "celery.apps.worker",
    "celery.bin.celery",
    "celery.bin.worker",
    "celery.concurrency.thread",
    "celery.worker.worker",
    "chassis.clients.client",
    "chassis.discovery.consul",
    "chassis.run.celery",
    "chassis.run.web_app",
    "chassis.run.web_server",
    "chassis.run.worker",
    "chassis.storage.mongo",
    "chassis.storage.postgres_store",
    "consul",
    "contracts.orders",
    "contracts.payments",
    "contracts.stock",
    "contracts.users",
    "flask_restful",
    "granian.server",
    "jinja2",
    "jwt.algorithms",
    "kombu.transport.pyamqp",
    "mongoengine",
    "prometheus_flask_exporter",
    "psycopg2.extras",
    "pydantic_settings",
    "redis.asyncio",
    "sqlalchemy.dialects.postgresql.psycopg2",
    "sqlalchemy.orm",
    "structlog",
    "urllib3",
    "uvloop",
    "yaml",
)
"""Imported by more than one program."""

ALONE = (
    "aiosmtpd.controller",
    "email_validator",
    "httptools",
    "limits.aio.strategies",
    "limits.storage",
    "secantus.server",
)
"""Imported by one program."""

OURS = ("chassis", "contracts")

OPTION = "--forks"
"""Of the supervisor."""

IS_AVAILABLE = sys.platform == "linux"
"""Elsewhere system libraries do not survive a fork."""

INSTALLED = REPOSITORY / ".venv" / "installed.lock"

COMPILED = REPOSITORY / ".venv" / "compiled"
"""There once byte code is; `./souk` removes it when packages change."""


class Shared:
    """Imported by a thread while servers start. It has ended before the first fork."""

    def __init__(self) -> None:
        self._version = _version()
        self._thread = threading.Thread(target=self._load)
        self._is_frozen = False

    def start(self) -> None:
        self._thread.start()

    def wait(self) -> None:
        if not self._is_frozen:
            self._thread.join()
            # A collection in a child would write to, and so copy, every page.
            gc.collect()
            gc.freeze()
            self._is_frozen = True

    def are_current(self) -> bool:
        return self._is_frozen and self._version == _version()

    def _load(self) -> None:
        if not COMPILED.exists():
            # A process that compiles what it imports stays larger for good.
            subprocess.run([sys.executable, "-m", "launcher.forking"], cwd=REPOSITORY, check=False)
        import_all(SHARED)


def import_all(names: Iterable[str]) -> None:
    for name in names:
        importlib.import_module(name)


def description(script: Path) -> Path:
    """Beside a program's script, if it can be forked."""
    return script.with_name(f"{script.name}.json")


def run(file: Path, environment: Mapping[str, str]) -> NoReturn:
    """In the child: what its script would do."""
    about = json.loads(file.read_text())
    code: Any = 1
    try:
        _become(about["name"], about["folder"], {**environment, **about["environment"]})
        sys.argv = [about["module"], *about["arguments"]]
        runpy.run_module(about["module"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as exit_:
        code = exit_.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def _become(name: str, folder: str, environment: Mapping[str, str]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    setproctitle(f"{processes.TITLE}{name}")
    os.environ.update(environment)
    os.chdir(folder)


def _version() -> list[tuple[str, int]]:
    """Of installed packages, and of our own files."""
    files = (path for package in OURS for path in (REPOSITORY / package).rglob("*.py"))
    return [(str(path), path.stat().st_mtime_ns) for path in sorted([INSTALLED, *files]) if path.exists()]


if __name__ == "__main__":
    import_all([*SHARED, *ALONE])
    COMPILED.touch()
