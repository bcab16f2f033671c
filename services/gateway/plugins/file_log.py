"""Appends one JSON line per exchange."""

import os
from typing import Annotated

from pydantic import Field
from structlog import get_logger

from services.gateway.config import schema
from services.gateway.config.configuration import Configuration
from services.gateway.exchange.exchange import Exchange
from services.gateway.exchange.responses import Response
from services.gateway.plugins.base import Plugin
from services.gateway.plugins.log_entry import LogConfig, LogEntries

log = get_logger(__name__)


class FileLogConfig(LogConfig):
    path: Annotated[str, Field(pattern=r"^[^*&%\\`]+$")]
    reopen: bool = False


class FileLog(Plugin):
    name, priority = "file-log", 9

    def __init__(self, entry: schema.Plugin, configuration: Configuration) -> None:
        self._config = FileLogConfig.model_validate(entry.config or {})
        self._entries = LogEntries(self._config)

    def log(self, exchange: Exchange, response: Response) -> None:
        line = self._entries.line(exchange, response) + "\n"
        path = self._config.path
        try:
            if self._config.reopen:
                _close(path)
            os.write(_opened(path), line.encode())
        except OSError as error:
            _close(path)
            log.error("exchange not logged", path=path, error=str(error))


_OWN = {"/dev/stdout": 1, "/dev/stderr": 2}
"""Opening by name fails where a supervisor has put a socket."""

_FILES: dict[str, int] = {}
"""By path, kept open over reloads."""


def _opened(path: str) -> int:
    if path in _OWN:
        return _OWN[path]
    if path not in _FILES:
        _FILES[path] = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    return _FILES[path]


def _close(path: str) -> None:
    if path in _FILES:
        os.close(_FILES.pop(path))
