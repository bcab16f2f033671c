"""Latency of other routes while one upstream takes 10 s to respond."""

import json
import os
import sys
import threading
import time
from functools import partial

import urllib3
from flask import Flask

from bench._edges import free_port, program
from bench._measure import Series, measure, show
from chassis.base.settings import Settings
from chassis.clients import Client
from chassis.run import web_app, web_server
from chassis.run.service import Service
from chassis.security.auth import ANYONE
from chassis.web.api import Resource, View, endpoint

CALLS, CALLERS = 500, 12
"""More callers than threads."""

HANGS_SECONDS = 10
BREAKER_SECONDS = 8

upstream = Client("upstream")
pool = urllib3.PoolManager(maxsize=64, timeout=60, retries=False)


class Text(View):
    text: str


class Dependent(Resource):
    @endpoint(allow=ANYONE, before=lambda: upstream.get("/slow", {}, Settings.current()))
    def get(self, prepared: object) -> Text:
        return Text(text=str(prepared))


class Own(Resource):
    @endpoint(allow=ANYONE)
    def get(self) -> Text:
        return Text(text="here")


def main() -> None:
    hanging, calling = free_port(), free_port()
    environment = {
        "SOUK_DATABASE_URL": os.environ["SOUK_TEST_POSTGRES_URL"],
        "SOUK_SERVICES": json.dumps({"upstream": f"http://127.0.0.1:{hanging}"}),
        "SOUK_LOG_LEVEL": "critical",
    }
    with (
        program(hanging, "bench.slow_upstream", "hang", environment={"SOUK_PORT": str(hanging)}),
        program(calling, "bench.slow_upstream", "call", environment={**environment, "SOUK_PORT": str(calling)}),
    ):
        _run(f"http://127.0.0.1:{calling}")


def _run(url: str) -> None:
    own = partial(pool.request, "GET", f"{url}/own")
    measure("warm-up", own, CALLS // 2)
    idle = measure("own route, idle", own, CALLS)
    stopping, dependent = threading.Event(), Series("route that calls the upstream")
    callers = [threading.Thread(target=_call, args=(f"{url}/dependent", dependent, stopping)) for _ in range(CALLERS)]
    began = time.perf_counter()
    for caller in callers:
        caller.start()
    first = measure("own route, upstream begins to hang", own, CALLS)
    while time.perf_counter() - began < BREAKER_SECONDS:
        time.sleep(0.1)
    later = measure("own route, breaker is open", own, CALLS)
    stopping.set()
    for caller in callers:
        caller.join()
    dependent.seconds = time.perf_counter() - began
    note = f"Once the breaker is open, the own route's p99 is {later.percentile(99) / idle.percentile(99):.2f} times the idle one."
    show("An upstream that takes 10 s", [idle, first, later, dependent], [note])


def _call(url: str, dependent: Series, stopping: threading.Event) -> None:
    while not stopping.wait(0.2):
        began = time.perf_counter()
        pool.request("GET", url)
        dependent.milliseconds.append((time.perf_counter() - began) * 1_000)


def hang() -> None:
    app = Flask("hanging")

    @app.get("/slow")
    def slow() -> dict[str, str]:
        time.sleep(HANGS_SECONDS)
        return {"text": "at last"}

    web_server.run(app, Settings(threads=64))


def call() -> None:
    service = Service("bench", Settings, lambda: {"/dependent": Dependent, "/own": Own})
    web_server.run(web_app.build(service), service.settings)


if __name__ == "__main__":
    {"hang": hang, "call": call}.get(sys.argv[-1], main)()
