"""Reads a program's log: complete lines, over rotations.

The supervisor writes what it gets, so a line may begin in the rotated file and end in the current one.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

BLOCK_BYTES = 65_536

MAX_READ_BYTES = 1_000_000
"""Of a log at a time."""

MAX_LINE_BYTES = 1_000_000
"""A longer one is cut."""

BEFORE_BYTES = 1_024
"""Tell one file from another: lines have times."""


def rotated(log: Path) -> Path:
    return log.with_name(f"{log.name}.1")


def last_lines(log: Path, count: int = 15) -> list[str]:
    text, wanted = b"", count + 1
    for block in _backwards(log):
        text = block + text
        if text.count(b"\n") > wanted:
            break
    return text.decode(errors="replace").rstrip().splitlines()[-count:] if count else []


def lines(log: Path) -> Iterator[str]:
    """Oldest first. The first may be cut: older ones are gone."""
    rest = b""
    for path in (rotated(log), log):
        with suppress(FileNotFoundError), open(path, "rb") as file:
            for line in file:
                rest += line
                if rest.endswith(b"\n"):
                    yield rest.decode(errors="replace").rstrip("\n")
                    rest = b""


class Position(NamedTuple):
    """The end of a line. `before`: a digest of the file up to it, as the numbers of files are used again."""

    offset: int
    before: str


class Line(NamedTuple):
    text: str
    end: int
    """Its offset in the file, after the newline."""

    before: bytes
    """The last bytes of the file up to there."""

    @property
    def position(self) -> Position:
        return Position(self.end, _digest(self.before))


class Tail:
    """Complete lines from a place on, each once, over rotations."""

    def __init__(self, file: BinaryIO | None, log: Path) -> None:
        self._log, self._file, self._rest = log, file, b""
        self._before = _before(file) if file is not None else b""

    @classmethod
    def from_start(cls, log: Path) -> Self:
        """Of what is still there."""
        return cls(_opened(rotated(log)) or _opened(log), log)

    @classmethod
    def from_end(cls, log: Path) -> Self:
        if (file := _opened(log)) is not None:
            file.seek(0, os.SEEK_END)
        return cls(file, log)

    @classmethod
    def after(cls, position: Position, log: Path) -> Self:
        """From the start if the file of that position is gone."""
        for path in (log, rotated(log)):
            if (file := _opened(path)) is not None:
                file.seek(position.offset)
                if _digest(_before(file)) == position.before:
                    return cls(file, log)
                file.close()
        return cls.from_start(log)

    def fresh(self, max_bytes: int = MAX_READ_BYTES) -> list[Line]:
        """Lines since the last call; all of them, unless there are more than about `max_bytes`."""
        found: list[Line] = []
        while max_bytes > 0 and (text := self._read(max_bytes)):
            found += self._lines(text)
            max_bytes -= len(text)
        return found

    def _read(self, max_bytes: int) -> bytes:
        """Empty at the end."""
        if self._file is None:
            self._file = _opened(self._log)
        while self._file is not None:
            if text := self._file.read(max_bytes):
                return text
            following = self._following(self._file)
            # It may have been written to before it was replaced.
            if following is None or (text := self._file.read(max_bytes)):
                return text
            self._file.close()
            self._file, self._before = following, b""
        return b""

    def _following(self, file: BinaryIO) -> BinaryIO | None:
        """What the log goes on in after `file`, once that was rotated or emptied."""
        if (current := _opened(self._log)) is None:
            return None
        if _number(current) == _number(file):
            if os.fstat(current.fileno()).st_size < file.tell():
                return current
            current.close()
            return None
        # Opened after the current one: if that was rotated in between, it is this.
        before = _opened(rotated(self._log))
        if before is None or _number(before) == _number(file):
            return current
        current.close()
        return before

    def _lines(self, text: bytes) -> Iterator[Line]:
        assert self._file is not None
        end, seen = self._file.tell() - len(text), self._before + text
        skipped = end - len(self._before)
        self._before = seen[-BEFORE_BYTES:]
        for part in BytesIO(text):
            end += len(part)
            self._rest += part
            if self._rest.endswith(b"\n") or len(self._rest) > MAX_LINE_BYTES:
                before = seen[max(end - skipped - BEFORE_BYTES, 0) : end - skipped]
                yield Line(self._rest.decode(errors="replace").rstrip("\n"), end, before)
                self._rest = b""


def _digest(before: bytes) -> str:
    return hashlib.sha256(before).hexdigest()


def _before(file: BinaryIO) -> bytes:
    end = file.tell()
    start = max(end - BEFORE_BYTES, 0)
    return os.pread(file.fileno(), end - start, start)


def _number(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_ino


def _opened(log: Path) -> BinaryIO | None:
    try:
        return open(log, "rb")
    except FileNotFoundError:
        return None


def _backwards(log: Path) -> Iterator[bytes]:
    """Blocks of the log and of the rotated file before it, newest first."""
    with ExitStack() as files:
        for path in (log, rotated(log)):
            file = _opened(path)
            if file is None:
                continue
            files.enter_context(file)
            end = os.fstat(file.fileno()).st_size
            while end:
                start = max(0, end - BLOCK_BYTES)
                file.seek(start)
                yield file.read(end - start)
                end = start
