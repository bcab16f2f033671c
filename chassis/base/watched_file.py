"""Files that are reloaded when they change."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from structlog import get_logger

log = get_logger(__name__)

CHECK_SECONDS = 1.0

T = TypeVar("T")


class WatchedFile(Generic[T]):
    """After an invalid change, the last good content stays."""

    def __init__(self, path: Path, parse: Callable[[bytes], T], *others: Path) -> None:
        """others: what `parse` reads beside it. Raises OSError, or what `parse` raises."""
        self._path, self._parse, self._others = path, parse, others
        self._lock = threading.Lock()
        self._state: tuple[int, ...] | None = None
        self._checked_at = 0.0
        self._content = self._read()

    def now(self) -> T:
        """At most CHECK_SECONDS old."""
        return self._content if time.monotonic() - self._checked_at <= CHECK_SECONDS else self.refresh()

    def refresh(self) -> T:
        with self._lock:
            self._checked_at = time.monotonic()
            try:
                if self._stat() != self._state:
                    self._content = self._read()
                    log.info("file reloaded", path=str(self._path))
            except (OSError, ValueError) as error:
                log.error("file not reloaded", path=str(self._path), reason=str(error))
            return self._content

    def _read(self) -> T:
        state = self._stat()
        try:
            return self._parse(self._path.read_bytes())
        finally:
            # Even after an error: read an invalid file only once.
            self._state = state

    def _stat(self) -> tuple[int, ...]:
        found = [os.stat(path) for path in (self._path, *self._others)]
        return tuple(part for each in found for part in (each.st_mtime_ns, each.st_ino, each.st_size))
