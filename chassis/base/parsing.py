"""JSON from outside."""

import json
from typing import Any


def parse_json(raw: str | bytes) -> Any:
    """Raises ValueError, and nothing else, when it cannot be parsed."""
    try:
        return json.loads(raw)
    except RecursionError:
        raise ValueError("It is nested too deeply.") from None
