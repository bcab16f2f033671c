"""Log events as JSON lines, in the same format as the services."""

import json
from contextlib import suppress
from datetime import UTC, datetime


def log(event: str, level: str = "info", **fields: object) -> None:
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    line = json.dumps({"service": "sidecar", **fields, "event": event, "level": level, "timestamp": now}, default=str)
    # A closed pipe or a full disk must not stop the sidecar.
    with suppress(OSError, ValueError):
        print(line, flush=True)
