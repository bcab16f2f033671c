"""Events as JSON lines, in the form in which the services write theirs."""

import json
from contextlib import suppress
from datetime import UTC, datetime


def log(event: str, level: str = "info", **fields: object) -> None:
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    line = json.dumps({"service": "sidecar", **fields, "event": event, "level": level, "timestamp": now}, default=str)
    # Work goes on when nobody reads it any more, or the disk behind it is full.
    with suppress(OSError, ValueError):
        print(line, flush=True)
