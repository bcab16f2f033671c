"""JSON log lines in the services' format."""

import json
import sys
from contextlib import suppress
from datetime import UTC, datetime


def log(event: str, level: str = "info", **fields: object) -> None:
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    line = json.dumps({"service": "sidecar", **fields, "event": event, "level": level, "timestamp": now}, default=str)
    # Survive a closed pipe or full disk. One write, as `print` makes two and threads would mix them.
    with suppress(OSError, ValueError):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
