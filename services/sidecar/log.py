"""JSON log lines in the services' format."""

import json
from contextlib import suppress
from datetime import UTC, datetime


def log(event: str, level: str = "info", **fields: object) -> None:
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    line = json.dumps({"service": "sidecar", **fields, "event": event, "level": level, "timestamp": now}, default=str)
    # Survive a closed pipe or full disk.
    with suppress(OSError, ValueError):
        print(line, flush=True)
