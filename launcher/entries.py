"""Log entries of any program: our JSON lines, the gateway's in Kong's format, and servers' text of several lines."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from typer import colors, style

LEVELS = ("debug", "info", "warning", "error", "critical")

PROGRAM_WIDTH = 20
"""Of the longest."""

_SPELLINGS = {"notice": "info", "log": "info", "warn": "warning", "fatal": "critical", "panic": "critical"}
_LEVEL = re.compile(rf"\b({'|'.join([*LEVELS, *_SPELLINGS])})\b", re.IGNORECASE)
_LEVEL_WITHIN = 120
"""Of a line of text: later words are its content."""

_TIME = re.compile(
    r"(?P<iso>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?) ?(?P<zone>Z|UTC|[+-]\d\d:?\d\d)?"
    r"|(?P<redis>\d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d\.\d{3})"
)
_TIME_WITHIN = 40

_SHOWN_ELSEWHERE = frozenset({"timestamp", "level", "event", "service", "traceparent", "exception", "work", "logger"})
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}")
_LEVEL_COLOURS = {"warning": colors.YELLOW, "error": colors.RED, "critical": colors.RED}
_PROGRAM_COLOURS = (colors.CYAN, colors.GREEN, colors.MAGENTA, colors.BLUE, colors.BRIGHT_CYAN, colors.BRIGHT_GREEN)


@dataclass(frozen=True)
class Entry:
    time: float
    """Unix time; where it has none, of the entry before; 0 if that has none either."""
    program: str
    level: str
    event: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    more: str = ""
    """A traceback, or further lines of text."""
    lines: int = field(default=1, compare=False)
    """Of the log."""

    @property
    def ids(self) -> set[str]:
        """Of its trace and request."""
        return {str(self.fields[name]) for name in ("trace_id", "correlation_id") if self.fields.get(name)}

    def to_json(self) -> str:
        about = {"time": _iso(self.time), "program": self.program, "level": self.level, "event": self.event}
        rest = {name: value for name, value in self.fields.items() if name not in ("timestamp", "level", "event")}
        return json.dumps({**about, **rest, **({"more": self.more} if self.more else {})})

    def to_text(self, is_coloured: bool) -> str:
        """For people: ids are cut to their first part, by which they are found too."""
        colour = _PROGRAM_COLOURS[sum(self.program.encode()) % len(_PROGRAM_COLOURS)]
        parts = [
            f"{datetime.fromtimestamp(self.time, UTC):%m-%d %H:%M:%S.%f}"[:-3] if self.time else " " * 18,
            _styled(f"{self.program:<{PROGRAM_WIDTH}}", is_coloured, fg=colour),
            _styled(
                f"{self.level:<8}", is_coloured, fg=_LEVEL_COLOURS.get(self.level), bold=self.level in _LEVEL_COLOURS
            ),
            self.event,
            *(_styled(f"{name}={_short(value)}", is_coloured, dim=True) for name, value in self._told()),
        ]
        more = "".join(f"\n    {line}" for line in self.more.splitlines())
        return " ".join(parts) + more

    def _told(self) -> Iterator[tuple[str, Any]]:
        for name, value in self.fields.items():
            if name not in _SHOWN_ELSEWHERE and value not in (None, ""):
                yield name, value


def entries(program: str, lines: Iterable[str], at: float = 0) -> Iterator[Entry]:
    """Text without a time of its own continues text before it. at: the time of the entry before."""
    last, more = None, list[str]()
    for line in lines:
        made = _parsed(program, line, last.time if last else at)
        if made is None and last is not None and not last.fields:
            more.append(line)
            continue
        if last is not None:
            yield _extended(last, more)
        level = "error" if line.startswith("Traceback ") else "info"
        last, more = made or Entry(last.time if last else at, program, level, line), []
    if last is not None:
        yield _extended(last, more)


def _extended(entry: Entry, more: Sequence[str]) -> Entry:
    return replace(entry, more="\n".join(more), lines=1 + len(more)) if more else entry


def _parsed(program: str, line: str, at: float) -> Entry | None:
    """None for text without a time, and for what only looks like an entry."""
    try:
        return _read(program, line, at)
    except (ValueError, TypeError, AttributeError, OverflowError):
        return None


def _read(program: str, line: str, at: float) -> Entry | None:
    if line.startswith("{"):
        try:
            content = json.loads(line)
        except ValueError:
            content = None
        if isinstance(content, dict):
            return _of_kong(program, content) if "started_at" in content else _of_json(program, content, at)
    moment = _TIME.search(line, 0, _TIME_WITHIN)
    if moment is None:
        return None
    found = _LEVEL.search(line, 0, _LEVEL_WITHIN)
    level = found[1].lower() if found else "info"
    event = line[moment.end() :] if moment.start() == 0 else line
    return Entry(_unix(moment), program, _SPELLINGS.get(level, level), event.strip())


def _of_json(program: str, content: dict[str, Any], at: float) -> Entry:
    moment = _TIME.match(str(content.get("timestamp") or content.get("time") or content.get("ts") or ""))
    level = str(content.get("level", "info")).lower()
    event = str(content.get("event") or content.get("message") or content.get("msg") or "")
    time = _unix(moment) if moment else at
    return Entry(time, program, _SPELLINGS.get(level, level), event, content, str(content.get("exception", "")))


def _of_kong(program: str, content: dict[str, Any]) -> Entry:
    """One exchange; its time is its beginning, its id the trace's."""
    request, response = content.get("request") or {}, content.get("response") or {}
    status = response.get("status") or 0
    route = (content.get("route") or {}).get("name")
    fields = {
        "method": request.get("method"),
        "route": route,
        "status": status,
        "milliseconds": (content.get("latencies") or {}).get("request"),
        "trace_id": request.get("id"),
        **({"correlation_id": content["correlation_id"]} if content.get("correlation_id") else {}),
    }
    level = "error" if status >= 500 else "info"
    return Entry(content["started_at"] / 1000, program, level, "request", fields)


def _unix(moment: "re.Match[str]") -> float:
    if moment["redis"]:
        return datetime.strptime(moment["redis"], "%d %b %Y %H:%M:%S.%f").astimezone().timestamp()
    zone = {None: "", "UTC": "+00:00", "Z": "+00:00"}.get(moment["zone"], moment["zone"])
    return datetime.fromisoformat(moment["iso"].replace(",", ".")[:26] + zone).timestamp()


def _iso(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds")


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    text = _ID.sub(lambda found: found[0][:8], text)
    return json.dumps(text) if " " in text or "\n" in text else text


def _styled(text: str, is_coloured: bool, **styles: Any) -> str:
    return style(text, **styles) if is_coloured else text
