"""Reads a program's log: complete lines, over rotations.

The supervisor writes what it gets, so a line may begin in the rotated file and end in the current one.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from io import BufferedReader
from pathlib import Path

BLOCK_BYTES = 65_536


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


class Tail:
    """What is written from now on."""

    def __init__(self, log: Path, is_new: bool = False) -> None:
        """is_new: nothing of it has been read."""
        self._log, self._file, self._rest = log, _opened(log), b""
        if self._file is not None and not is_new:
            self._file.seek(0, os.SEEK_END)

    def fresh(self) -> list[str]:
        """Complete lines since the last call."""
        if self._file is None:
            self._file = _opened(self._log)
        if self._file is None:
            return []
        text = self._rest + self._file.read()
        if self._is_replaced(self._file):
            text += self._file.read()
            self._file.close()
            self._file = _opened(self._log)
            text += self._file.read() if self._file else b""
        whole, newline, self._rest = text.rpartition(b"\n")
        return (whole + newline).decode(errors="replace").splitlines()

    def _is_replaced(self, file: BufferedReader) -> bool:
        """Rotated, or emptied."""
        try:
            current = self._log.stat()
        except FileNotFoundError:
            return False
        return current.st_ino != os.fstat(file.fileno()).st_ino or current.st_size < file.tell()


def _opened(log: Path) -> BufferedReader | None:
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
