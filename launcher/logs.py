"""Reads programs' log files."""

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

POLL_SECONDS = 0.2


def last_lines(log: Path, count: int = 15) -> list[str]:
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 200 * max(count, 50)))
            return file.read().decode(errors="replace").rstrip().splitlines()[-count:] if count else []
    except FileNotFoundError:
        return []


def lines(files: Mapping[str, Path], count: int, follow: bool) -> Iterator[str]:
    """The last `count` lines of each; `follow`: then new ones for ever."""
    ends = {name: _size(path) for name, path in files.items()}
    for name, path in files.items():
        yield from (_prefixed(name, line, files) for line in last_lines(path, count))
    while follow:
        time.sleep(POLL_SECONDS)
        for name, path in files.items():
            fresh, ends[name] = _read_from(path, ends[name])
            yield from (_prefixed(name, line, files) for line in fresh)


def _read_from(path: Path, start: int) -> tuple[list[str], int]:
    """Complete lines and their end. A shrunk file was rotated."""
    size = _size(path)
    start = start if size >= start else 0
    if size == start:
        return [], start
    with open(path, "rb") as file:
        file.seek(start)
        whole, newline, _ = file.read(size - start).rpartition(b"\n")
    return whole.decode(errors="replace").splitlines(), start + len(whole) + len(newline)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _prefixed(name: str, line: str, files: Mapping[str, Path]) -> str:
    return f"{name} | {line}" if len(files) > 1 else line
