"""Queries of Prometheus."""

import json
import urllib.request
from http.client import HTTPException
from typing import Any
from urllib.parse import urlencode

from services.console.settings import ConsoleSettings

TIMEOUT_SECONDS = 1.0


def query(expression: str) -> list[Any] | None:
    """An instant vector; None without Prometheus, or when it does not respond."""
    url = ConsoleSettings.current().prometheus_url
    if not url:
        return None
    try:
        with urllib.request.urlopen(  # noqa: S310 - the operator's setting
            f"{url}/api/v1/query?{urlencode({'query': expression})}", timeout=TIMEOUT_SECONDS
        ) as response:
            result: list[Any] = json.load(response)["data"]["result"]
            return result
    except (OSError, HTTPException, ValueError, KeyError):
        return None
