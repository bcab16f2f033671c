"""Finds log entries: of programs, by time and level, or all that tell of one order, request or trace."""

import heapq
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from launcher.entries import LEVELS, Entry, entries
from launcher.errors import LaunchError
from launcher.logs import Line, Tail, last_lines, lines

POLL_SECONDS = 0.2

MIN_ID = 8
"""Characters of an id; fewer would match by chance."""

LINES_AN_ENTRY = 4
"""Most have one; tracebacks have more."""

MAX_LOOKS = 5
"""For the rest of an entry that is still being written."""

_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True)
class Choice:
    since: float = 0
    """Unix time."""
    level: str = LEVELS[0]
    """The lowest."""

    def __contains__(self, entry: Entry) -> bool:
        return entry.time >= self.since and _rank(entry.level) >= _rank(self.level)


def moment(text: str) -> float:
    """Unix time of "15m", "2h" ago, or of an ISO time. Raises LaunchError."""
    try:
        if ago := re.fullmatch(r"(\d+)([smhd])", text):
            return time.time() - timedelta(**{_UNITS[ago[2]]: int(ago[1])}).total_seconds()
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise LaunchError(f"{text} is not a time: write 30s, 15m, 2h or 3d ago, or 2026-11-29T10:30.") from None


def last(logs: Sequence[Path], count: int, choice: Choice) -> list[Entry]:
    """The last of all together, oldest first."""
    is_plain = choice == Choice()

    def of(log: Path) -> Iterator[Entry]:
        found = last_lines(log, max(LINES_AN_ENTRY * count, 100)) if is_plain else lines(log)
        return (entry for entry in entries(log.stem, found) if entry in choice)

    newest = heapq.nlargest(count, (entry for log in logs for entry in of(log)), key=_time)
    return sorted(newest, key=_time)


def about(logs: Sequence[Path], id_: str, choice: Choice, is_order: bool = False) -> list[Entry]:
    """All that have the id or share a trace or request with one that has it, oldest first.

    is_order: without those of other orders in the same trace, such as a timer's.
    """
    if not re.fullmatch(rf"[0-9a-fA-F-]{{{MIN_ID},}}", id_):
        raise LaunchError(f"{id_} is not an id: give {MIN_ID} characters of it or more.")
    ids = {id_} | {each for entry in _with({id_}, logs) for each in entry.ids}
    found = (entry for entry in _with(ids, logs) if entry in choice)
    return sorted((entry for entry in found if not (is_order and _is_of_another(entry, id_))), key=_time)


def of(logs: Sequence[Path], id_: str) -> tuple[list[Entry], list[str]]:
    """What is logged about an order, trace or request, and the orders that it is about."""
    logged = about(logs, id_, Choice())
    orders = {str(entry.fields["order_id"]) for entry in logged if "order_id" in entry.fields}
    if named := {order for order in orders if order.startswith(id_)}:
        return about(logs, id_, Choice(), is_order=True), sorted(named)
    if _UUID.fullmatch(id_):
        # An order of which the logs are gone.
        orders.add(id_)
    return logged, sorted(orders)


class Following:
    """A log's entries as they are written, each with its last line."""

    def __init__(self, log: Path, tail: Tail) -> None:
        self._program, self._tail = log.stem, tail
        self._open: list[Line] = []
        self._looks, self._at = 0, time.time()

    def fresh(self) -> list[tuple[Entry, Line]]:
        fresh = self._tail.fresh()
        lines = [*self._open, *fresh]
        ends, end = [], 0
        for entry in entries(self._program, [line.text for line in lines], self._at):
            end += entry.lines
            ends.append((entry, lines[end - 1]))
        self._open = []
        # The end may be a traceback of which the rest is not written yet.
        if fresh and not fresh[-1].text.startswith("{") and self._looks < MAX_LOOKS:
            self._open = lines[-ends.pop()[0].lines :]
        self._looks = self._looks + 1 if self._open and not ends else 0
        if ends:
            self._at = ends[-1][0].time
        return ends


def follow(
    logs: Callable[[], Sequence[Path]], choice: Choice, poll_seconds: float = POLL_SECONDS
) -> Iterator[list[Entry]]:
    """New entries from now on, for ever: those of each look by time. logs: programs may come and go."""
    followed = {log: Following(log, Tail.from_end(log)) for log in logs()}
    while True:
        found: list[Entry] = []
        for log in logs():
            if log not in followed:
                followed[log] = Following(log, Tail.from_start(log))
            found += [entry for entry, _ in followed[log].fresh() if entry in choice]
        yield sorted(found, key=_time)
        time.sleep(poll_seconds)


def _with(ids: set[str], logs: Sequence[Path]) -> Iterator[Entry]:
    holds = re.compile("|".join(map(re.escape, ids)))
    for log in logs:
        # The text first: parsing takes longer.
        yield from entries(log.stem, (line for line in lines(log) if holds.search(line)))


def _is_of_another(entry: Entry, order_id: str) -> bool:
    return not str(entry.fields.get("order_id", order_id)).startswith(order_id)


def _rank(level: str) -> int:
    return LEVELS.index(level) if level in LEVELS else LEVELS.index("info")


def _time(entry: Entry) -> float:
    return entry.time
