"""Ships the programs' log entries to VictoriaLogs: `python -m launcher.shipping URL PORT`, with the state folder's logs.

The log files are its buffer: while VictoriaLogs is unavailable it waits, and a start continues after the newest entry there.
"""

import json
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode

from prometheus_client import Counter, start_http_server

from launcher import story
from launcher.state import StateFolder

SHIPPED = Counter("souk_log_entries_shipped_total", "Log entries that VictoriaLogs has taken.")

BATCH = 1_000
POLL_SECONDS = 1.0
TIMEOUT_SECONDS = 10
FIELDS = {"_stream_fields": "program,level", "_time_field": "time", "_msg_field": "event"}

Result = TypeVar("Result")


def newest(url: str) -> float:
    """Unix time of the newest entry that it has, 0 if none. Raises OSError."""
    query = urlencode({"query": "* | stats max(_time) as newest"})
    with urllib.request.urlopen(f"{url}/select/logsql/query?{query}", timeout=TIMEOUT_SECONDS) as response:
        found = [json.loads(line) for line in response]
    text = found[0].get("newest") if found else None
    return datetime.fromisoformat(text[:26].rstrip("Z") + "+00:00").timestamp() if text else 0.0


def ship(url: str, lines: Sequence[str]) -> None:
    """Raises OSError."""
    rest = iter(lines)
    while batch := list(islice(rest, BATCH)):
        # As a form, urllib's default, the body would be parsed away.
        headers = {"Content-Type": "application/stream+json"}
        request = urllib.request.Request(
            f"{url}/insert/jsonline?{urlencode(FIELDS)}", "\n".join(batch).encode(), headers
        )
        urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS).close()
        SHIPPED.inc(len(batch))


def until_taken(call: Callable[[], Result]) -> Result:
    while True:
        try:
            return call()
        except OSError:
            time.sleep(POLL_SECONDS)


def main(url: str, port: int) -> None:
    folder = StateFolder().logs
    start_http_server(port, "127.0.0.1")

    def logs() -> list[Path]:
        return sorted(folder.glob("*.log"))

    news = story.follow(logs, story.Choice(), POLL_SECONDS)
    # From here on it misses nothing; what is written meanwhile may be seen twice.
    next(news)
    since = until_taken(lambda: newest(url))
    earlier = [entry.to_json() for entry in story.last(logs(), sys.maxsize, story.Choice(since)) if entry.time > since]
    until_taken(lambda: ship(url, earlier))
    shipped = set(earlier)
    for entries in news:
        lines = [line for entry in entries if (line := entry.to_json()) not in shipped]
        shipped.clear()
        until_taken(lambda lines=lines: ship(url, lines))  # type: ignore[misc]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
