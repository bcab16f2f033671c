"""People who use a whole installation through its gateway."""

import json
import os
import time
import uuid
from collections import Counter, defaultdict
from typing import Any

import psycopg2
import urllib3

from bench._measure import Series

PASSWORD = "A long one: " + uuid.uuid4().hex

_pool = urllib3.PoolManager(maxsize=32, retries=False, timeout=30)


class Recorder:
    """Latencies and statuses by route."""

    def __init__(self) -> None:
        self.series: dict[str, Series] = {}
        self.statuses: dict[str, Counter[int]] = defaultdict(Counter)

    def add(self, route: str, milliseconds: float, status: int) -> None:
        self.series.setdefault(route, Series(route)).milliseconds.append(milliseconds)
        self.statuses[route][status] += 1


class Person:
    def __init__(self, recorder: Recorder) -> None:
        self._url = os.environ["SOUK_BENCH_GATEWAY_URL"]
        self._recorder = recorder
        self.headers: dict[str, str] = {}
        self.name = f"bench.{uuid.uuid4().hex[:12]}"
        self.email = f"{self.name}@example.com"
        self.id = self.refresh_token = ""

    def call(self, method: str, route: str, body: object = None, query: str = "", **path: str) -> Any:
        """The response's JSON, of any status; a new Idempotency-Key. `route`: with {names} of `path`."""
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **self.headers, "Idempotency-Key": uuid.uuid4().hex}
        started = time.perf_counter()
        response = _pool.request(method, self._url + route.format(**path) + query, body=content, headers=headers)
        self._recorder.add(f"{method} {route}", (time.perf_counter() - started) * 1_000, response.status)
        is_json = response.headers.get("Content-Type", "") in ("application/json", "application/problem+json")
        return json.loads(response.data) if is_json else None

    def register(self) -> "Person":
        body = {"email": self.email, "password": PASSWORD, "username": self.name}
        self.id = self.call("POST", "/users/register", body)["id"]
        return self

    def log_in(self) -> "Person":
        tokens = self.call("POST", "/users/login", {"email": self.email, "password": PASSWORD})
        self.refresh_token = tokens["refresh_token"]
        self.headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        return self

    def promote(self) -> "Person":
        """To admin. Logs in again."""
        with psycopg2.connect(json.loads(os.environ["SOUK_BENCH_DATABASES"])["users"]) as connection:
            connection.cursor().execute("UPDATE users SET roles = '{customer,staff,admin}' WHERE id = %s", (self.id,))
        return self.log_in()


def operations() -> set[str]:
    """Of the joined OpenAPI document: "GET /orders/"."""
    document = _pool.request("GET", os.environ["SOUK_BENCH_GATEWAY_URL"] + "/openapi.json").json()
    return {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
