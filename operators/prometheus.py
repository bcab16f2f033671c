"""What Prometheus has measured."""

import math
from collections.abc import Callable
from typing import Any

import urllib3

TIMEOUT = urllib3.Timeout(connect=2, read=5)

Query = Callable[[str], float]
"""The value of a PromQL expression: NaN without data. Raises Unmeasured."""


class Unmeasured(Exception):
    pass


class Prometheus:
    def __init__(self, url: str) -> None:
        self._url = f"{url.rstrip('/')}/api/v1/query"
        self._pool = urllib3.PoolManager(timeout=TIMEOUT, retries=False)

    def __call__(self, expression: str) -> float:
        try:
            response = self._pool.request("GET", self._url, fields={"query": expression})
            body: Any = response.json()
            if response.status != 200 or body["status"] != "success":
                raise Unmeasured(f"Prometheus: {response.status}")
            result = body["data"]["result"]
            return float(result[0]["value"][1]) if result else math.nan
        except (OSError, urllib3.exceptions.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
            raise Unmeasured(f"Prometheus: {error!r}") from error
