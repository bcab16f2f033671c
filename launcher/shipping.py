"""Ships the programs' log entries to VictoriaLogs: `python -m launcher.shipping URL PORT`, with the state folder's logs.

The log files are its buffer: while VictoriaLogs is unavailable it waits. What was taken is kept as a position in each file, so
that a start continues there; a shipper that is killed repeats what one look found.
"""

import http.client
import sys
import time
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode

from prometheus_client import Counter, start_http_server

from launcher.entries import Entry
from launcher.logs import Line, Position, Tail
from launcher.state import StateFolder
from launcher.story import Following

SHIPPED = Counter("souk_log_entries_shipped_total", "Log entries that VictoriaLogs has taken.")
REFUSED = Counter("souk_log_entries_refused_total", "Log entries that VictoriaLogs has refused.")

BATCH = 1_000
POLL_SECONDS = 1.0
TIMEOUT_SECONDS = 10
POSITIONS = "data/log-positions.json"
FIELDS = {"_stream_fields": "program,level", "_time_field": "time", "_msg_field": "event"}

OF_THE_BATCH = (400, 413)
"""Status of what is refused however often it is sent."""


class Shipper:
    def __init__(self, state: StateFolder, url: str, retry_seconds: float = POLL_SECONDS) -> None:
        self._state, self._url, self._retry_seconds = state, url, retry_seconds
        self._positions = state.read_json(POSITIONS)
        self._followed: dict[Path, Following] = {}

    def ship(self) -> int:
        """What is new in the logs, about a megabyte of each. Returns the number of entries."""
        count = 0
        for path in sorted(self._state.logs.glob("*.log")):
            if path not in self._followed:
                self._followed[path] = Following(path, self._tail(path))
            found = self._followed[path].fresh()
            for start in range(0, len(found), BATCH):
                self._ship(found[start : start + BATCH])
            if found:
                self._positions[path.name] = found[-1][1].position
            count += len(found)
        # A full disk: they are kept in memory.
        if count:
            with suppress(OSError):
                self._state.write_json(POSITIONS, self._positions)
        return count

    def _tail(self, path: Path) -> Tail:
        position = self._positions.get(path.name)
        return Tail.from_start(path) if position is None else Tail.after(Position(*position), path)

    def _ship(self, batch: Sequence[tuple[Entry, Line]]) -> None:
        body = "\n".join(entry.to_json() for entry, _ in batch).encode()
        while (is_taken := self._send(body)) is None:
            time.sleep(self._retry_seconds)
        if is_taken:
            SHIPPED.inc(len(batch))
        elif len(batch) > 1:
            self._ship(batch[: len(batch) // 2])
            self._ship(batch[len(batch) // 2 :])
        else:
            REFUSED.inc()

    def _send(self, body: bytes) -> bool | None:
        """Whether it is taken; None if that is for later."""
        # As a form, urllib's default, the body would be parsed away.
        headers = {"Content-Type": "application/stream+json"}
        request = urllib.request.Request(f"{self._url}/insert/jsonline?{urlencode(FIELDS)}", body, headers)
        try:
            urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS).close()
        except HTTPError as error:
            error.close()
            print(f"VictoriaLogs refused entries: {error}", flush=True)
            return False if error.code in OF_THE_BATCH else None
        except (OSError, http.client.HTTPException):
            return None
        return True


def main(url: str, port: int) -> None:
    start_http_server(port, "127.0.0.1")
    shipper = Shipper(StateFolder(), url)
    while True:
        if shipper.ship() < BATCH:
            time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
