"""One JSON object for each exchange, a line each, at the end of a file."""

import json
from pathlib import Path
from typing import Annotated, BinaryIO

from pydantic import Field
from structlog import get_logger

from services.gateway import schema
from services.gateway.answers import Answer
from services.gateway.configuration import Configuration
from services.gateway.exchange import Exchange
from services.gateway.plugins.base import Plugin, PluginConfig
from services.gateway.plugins.log_entry import entry as log_entry

log = get_logger(__name__)


class FileLogConfig(PluginConfig):
    path: Annotated[str, Field(pattern=r"^[^*&%\\`]+$")]
    reopen: bool = False


class FileLog(Plugin):
    name, priority = "file-log", 9

    def __init__(self, entry: schema.Plugin, configuration: Configuration) -> None:
        self._config = FileLogConfig.model_validate(entry.config or {})

    def log(self, exchange: Exchange, answer: Answer) -> None:
        line = json.dumps(log_entry(exchange, answer), separators=(",", ":")) + "\n"
        path = self._config.path
        try:
            if self._config.reopen:
                _FILES.pop(path, None)
            if path not in _FILES:
                _FILES[path] = Path(path).open("ab", buffering=0)  # noqa: SIM115 - kept open, over reloads
            _FILES[path].write(line.encode())
        except OSError as error:
            _FILES.pop(path, None)
            log.error("exchange not logged", path=path, error=str(error))


_FILES: dict[str, BinaryIO] = {}
