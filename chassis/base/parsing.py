"""JSON from outside."""

import json
from typing import Any


def parse_json(raw: str | bytes) -> Any:
    """Raises only ValueError."""
    try:
        return json.loads(raw)
    except RecursionError:
        raise ValueError("It is nested too deeply.") from None
