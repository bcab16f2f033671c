"""What the edge costs: a bare service, through the gateway without plugins, with jwt and rate limits, and a naive Flask proxy.

Then 10,000 idle keep-alive connections beside 2,000 clients that ask all the time. `quick` as argument measures for a second each.
"""

import json
import os
import sys
import time
import uuid
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
plugins:
  - {{name: jwt, config: {{claims_to_verify: [exp]}}}}
  - {{name: rate-limiting, config: {{minute: 100000000, policy: redis, redis: {redis}}}}}
consumers: [{{username: bench, jwt_secrets: [{{key: bench, secret: {secret}}}]}}]
"""


def main() -> None:
    quick = "quick" in sys.argv[1:]
    seconds = 1.0 if quick else 5.0
    upstream = free_port()
    with program(upstream, "bench._edges", "service", str(upstream)):
        url = urlsplit(os.environ["SOUK_TEST_REDIS_URL"])
        redis = json.dumps({"host": url.hostname, "port": url.port, "password": url.password, "username": url.username})
        plain = PLAIN.format(port=upstream)
        guarded = plain + GUARDED.format(redis=redis, secret=SECRET)
        series = [_measured("bare service", Plan(upstream, CLIENTS, seconds))]
        with gateway(plain) as (port, _, pid):
            series.append(_measured("gateway, no plugins", Plan(port, CLIENTS, seconds), pid))
        with gateway(guarded) as (port, _, pid):
            token = jwt.encode({"iss": "bench", "exp": time.time() + 3600}, SECRET, "HS256")
            plan = Plan(port, CLIENTS, seconds, headers={"Authorization": f"Bearer {token}"})
            series.append(_measured("gateway, jwt + rate-limiting on Redis", plan, pid))
        port = free_port()
        with program(port, "bench._edges", "naive", str(port), f"http://127.0.0.1:{upstream}") as pid:
            series.append(_measured("naive Flask + requests proxy", Plan(port, CLIENTS, seconds), pid))
        show(f"{CLIENTS} keep-alive clients, two cores for all processes together", series)
        print(f"with both plugins / naive without any: {series[2].rate / series[3].rate:.1f}")
        _crowd(plain, 1_000 if quick else 10_000, 200 if quick else 2_000, seconds * 2)


def _measured(name: str, plan: Plan, pid: int | None = None) -> Series:
    drive(Plan(plan.port, plan.clients, 0.5, headers=plan.headers))
    before = psutil.Process(pid).cpu_times() if pid else None
    outcome = drive(plan)
    _must_be_right(outcome)
    if before is not None:
        after = psutil.Process(pid).cpu_times()
        spent = after.user + after.system - before.user - before.system
        print(f"{name}: {spent / len(outcome.milliseconds) * 1e6:.0f} microseconds of its process for each request")
    return Series(name, outcome.milliseconds, outcome.seconds)


def _crowd(document: str, idle: int, clients: int, seconds: float) -> None:
    with gateway(document) as (port, _, pid):
        before = memory_megabytes(pid)
        outcome = drive(Plan(port, clients, seconds, idle=idle))
        _must_be_right(outcome)
        series = Series("", outcome.milliseconds, outcome.seconds)
        print(
            f"{idle:,} idle connections beside {clients:,} active clients: {outcome.idle_kept:,} idle ones answered again, "
            f"{outcome.errors} errors, {series.rate:,.0f} requests/s, p50 {series.percentile(50):.0f} ms, "
            f"p99 {series.percentile(99):.0f} ms, memory {before:.0f} -> {memory_megabytes(pid):.0f} MB"
        )
        assert outcome.idle_kept == idle


def _must_be_right(outcome: Outcome) -> None:
    share = outcome.processor_seconds / outcome.seconds
    print(f"(load generator: {share:.0%} of one core; answers: {outcome.statuses}; lost connections: {outcome.errors})")
    assert outcome.errors == 0
    assert set(outcome.statuses) == {"200"}


if __name__ == "__main__":
    main()
