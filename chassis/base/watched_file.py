"""A file that is read again when it has changed."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from structlog import get_logger

log = get_logger(__name__)

LOOK_SECONDS = 1.0

T = TypeVar("T")


class WatchedFile(Generic[T]):
    """What the file says now. A change that cannot be parsed is logged, and the last good content stays."""

    def __init__(self, path: Path, parse: Callable[[bytes], T]) -> None:
        """Raises OSError, or the ValueError of `parse`, when the file cannot be read at first."""
        self._path, self._parse = path, parse
        self._lock = threading.Lock()
        self._state: tuple[int, ...] | None = None
        self._looked_at = 0.0
        self._content = self._read()

    def now(self) -> T:
        """The content, at most LOOK_SECONDS old."""
        return self._content if time.monotonic() - self._looked_at <= LOOK_SECONDS else self.look()

    def look(self) -> T:
        """The content as of this moment."""
        with self._lock:
            self._looked_at = time.monotonic()
            try:
                if self._stat() != self._state:
                    self._content = self._read()
                    log.info("file read again", path=str(self._path))
            except (OSError, ValueError) as error:
                log.error("file not read, its last content stays", path=str(self._path), reason=str(error))
            return self._content

    def _read(self) -> T:
        state = self._stat()
        try:
            return self._parse(self._path.read_bytes())
        finally:
            # Also when it is wrong: it is read again only once it has changed again.
            self._state = state

    def _stat(self) -> tuple[int, ...]:
        found = os.stat(self._path)
        return found.st_mtime_ns, found.st_ino, found.st_size
