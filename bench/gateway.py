"""The cost of the edge: no gateway, three configurations of ours, a naive Flask proxy. `quick` does a tenth."""

import json
import os
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack
from urllib.parse import urlsplit

import jwt
import psutil

from bench._edges import free_port, gateway, memory_megabytes, program
from bench._load import Outcome, Plan, drive
from bench._measure import Series, show

CLIENTS = 64
SECRET = uuid.uuid4().hex

PLAIN = """
_format_version: "3.0"
services: [{{name: hello, url: "http://127.0.0.1:{port}", routes: [{{name: hello, paths: [/]}}]}}]
"""

GUARDED = """
consumers: [{{username: bench, jwt_secrets: [{{key: bench, secret: {secret}}}]}}]
plugins:
- {{name: jwt, config: {{claims_to_verify: [exp]}}}}
- {{name: rate-limiting, config: {{minute: 100000000, policy: redis, redis: {redis}}}}}
"""

LOGGED = """
- {{name: file-log, config: {{path: "{path}", custom_fields_by_lua: {removed}}}}}
"""
REMOVED = ("request.uri", "request.url", "request.querystring", "request.headers", "response.headers", "service")


def main() -> None:
    quick = "quick" in sys.argv[1:]
    upstream, naive = free_port(), free_port()
    url = urlsplit(os.environ["SOUK_TEST_REDIS_URL"])
    redis = json.dumps({"host": url.hostname, "port": url.port, "password": url.password, "username": url.username})
    plain = PLAIN.format(port=upstream)
    guards = GUARDED.format(redis=redis, secret=SECRET)
    token = {"Authorization": f"Bearer {jwt.encode({'iss': 'bench', 'exp': time.time() + 3600}, SECRET, 'HS256')}"}
    with ExitStack() as running:
        lines = f"{running.enter_context(tempfile.TemporaryDirectory())}/lines"
        log = LOGGED.format(path=lines, removed=json.dumps(dict.fromkeys(REMOVED, "return nil")))
        running.enter_context(program(upstream, "bench._edges", "service", str(upstream)))
        bare = running.enter_context(gateway(plain))
        guarded = running.enter_context(gateway(plain + guards))
        logged = running.enter_context(gateway(plain + guards + log))
        other = program(naive, "bench._edges", "naive", str(naive), f"http://127.0.0.1:{upstream}")
        subjects = [
            Subject("bare service", Plan(upstream, CLIENTS, 1.0)),
            Subject("gateway, no plugins", Plan(bare[0], CLIENTS, 1.0), bare[2]),
            Subject("gateway, jwt + rate-limiting on Redis", Plan(guarded[0], CLIENTS, 1.0, headers=token), guarded[2]),
            Subject("gateway, both and file-log", Plan(logged[0], CLIENTS, 1.0, headers=token), logged[2]),
            Subject("naive Flask + requests proxy", Plan(naive, CLIENTS, 1.0), running.enter_context(other)),
        ]
        for subject in subjects:
            drive(subject.plan)
        # Alternate, so that other load affects all alike.
        for _ in range(2 if quick else 8):
            for subject in subjects:
                subject.measure()
        series = [subject.series for subject in subjects]
        notes = [subject.note for subject in subjects if subject.pid]
        show(f"{CLIENTS} keep-alive clients, two cores for all processes together", series, notes)
        print(f"with both plugins / naive without any: {series[2].rate / series[-1].rate:.1f}")
    with program(upstream, "bench._edges", "service", str(upstream)):
        for clients in (CLIENTS, 200 if quick else 2_000):
            _crowd(plain, 1_000 if quick else 10_000, clients, 2.0 if quick else 10.0)


class Subject:
    def __init__(self, name: str, plan: Plan, pid: int | None = None) -> None:
        self.plan, self.pid = plan, pid
        self.series = Series(name)
        self._processor_seconds = 0.0
        self._generator = list[float]()

    def measure(self) -> None:
        before = self._spent()
        outcome = drive(self.plan)
        self._processor_seconds += self._spent() - before
        self._generator.append(outcome.processor_seconds / outcome.seconds)
        _check(outcome)
        self.series.milliseconds += outcome.milliseconds
        self.series.seconds += outcome.seconds

    @property
    def note(self) -> str:
        each = self._processor_seconds / len(self.series.milliseconds) * 1e6
        return f"{self.series.name}: {each:.0f} microseconds of CPU per request; generator at {max(self._generator):.0%} of a core"

    def _spent(self) -> float:
        if self.pid is None:
            return 0.0
        times = psutil.Process(self.pid).cpu_times()
        return times.user + times.system


def _crowd(document: str, idle: int, clients: int, seconds: float) -> None:
    with gateway(document) as (port, _, pid):
        before = memory_megabytes(pid)
        outcome = drive(Plan(port, clients, seconds, idle=idle))
        _check(outcome)
        series = Series("", outcome.milliseconds, outcome.seconds)
        print(
            f"{idle:,} idle connections beside {clients:,} active clients: {outcome.idle_kept:,} idle ones usable afterwards, "
            f"{outcome.errors} errors, {series.rate:,.0f} requests/s, p50 {series.percentile(50):.0f} ms, "
            f"p95 {series.percentile(95):.0f} ms, p99 {series.percentile(99):.0f} ms, memory {before:.0f} -> {memory_megabytes(pid):.0f} MB"
        )
        assert outcome.idle_kept == idle


def _check(outcome: Outcome) -> None:
    assert outcome.errors == 0, f"{outcome.errors} connections were lost"
    assert set(outcome.statuses) == {"200"}, outcome.statuses


if __name__ == "__main__":
    main()
