"""Queries of Prometheus."""

import json
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import Any
from urllib.parse import urlencode

from services.console.settings import ConsoleSettings

TIMEOUT_SECONDS = 1.0

Query = Callable[[str], list[Any] | None]
"""An expression's instant vector; None without Prometheus, or when it does not respond."""


def at(url: str, timeout_seconds: float = TIMEOUT_SECONDS) -> Query:
    def query(expression: str) -> list[Any] | None:
        if not url:
            return None
        try:
            with urllib.request.urlopen(  # noqa: S310 - the operator's setting
                f"{url}/api/v1/query?{urlencode({'query': expression})}", timeout=timeout_seconds
            ) as response:
                result: list[Any] = json.load(response)["data"]["result"]
                return result
        except (OSError, HTTPException, ValueError, KeyError):
            return None

    return query


def ours() -> Query:
    return at(ConsoleSettings.current().prometheus_url)
