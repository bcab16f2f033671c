"""What forms send, where the API would not see what was typed."""

import re

from flask import request

from services.console import api


def whole_number(name: str) -> int:
    """Raises Refusal, naming the field."""
    text = request.form.get(name, "").strip()
    if not re.fullmatch("[+-]?[0-9]{1,9}", text):
        error = {"field": name, "message": "must be a whole number"}
        raise api.Refusal(
            422, {"title": "Invalid request", "detail": f"{name}: must be a whole number", "errors": [error]}
        )
    return int(text)
