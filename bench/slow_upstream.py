"""What a web process's other routes notice while a upstream of it answers after 10 s: their latency idle, and meanwhile."""

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
"""More callers of the ill upstream than the process has threads."""

HANGS_SECONDS = 10
BREAKER_SECONDS = 8
"""After which the breaker has surely opened."""

upstream = Client("upstream")
pool = urllib3.PoolManager(maxsize=64, timeout=60, retries=False)


class Text(View):
    text: str


class Asking(Resource):
    @endpoint(allow=ANYONE, before=lambda: upstream.get("/slow", {}, Settings.current()))
    def get(self, prepared: object) -> Text:
        """What the upstream says."""
        return Text(text=str(prepared))


class Own(Resource):
    @endpoint(allow=ANYONE)
    def get(self) -> Text:
        """What takes nobody else."""
        return Text(text="here")


def main() -> None:
    hanging, asking = free_port(), free_port()
    told = {
        "SOUK_DATABASE_URL": os.environ["SOUK_TEST_POSTGRES_URL"],
        "SOUK_SERVICES": json.dumps({"upstream": f"http://127.0.0.1:{hanging}"}),
        "SOUK_LOG_LEVEL": "critical",
    }
    with (
        program(hanging, "bench.slow_upstream", "hang", environment={"SOUK_PORT": str(hanging)}),
        program(asking, "bench.slow_upstream", "ask", environment={**told, "SOUK_PORT": str(asking)}),
    ):
        _run(f"http://127.0.0.1:{asking}")


def _run(url: str) -> None:
    own = partial(pool.request, "GET", f"{url}/own")
    measure("warm-up", own, CALLS // 2)
    idle = measure("own route, all well", own, CALLS)
    stopping, asked = threading.Event(), Series("asking the upstream")
    callers = [threading.Thread(target=_call, args=(f"{url}/asking", asked, stopping)) for _ in range(CALLERS)]
    began = time.perf_counter()
    for caller in callers:
        caller.start()
    first = measure("own route, it begins to hang", own, CALLS)
    while time.perf_counter() - began < BREAKER_SECONDS:
        time.sleep(0.1)
    later = measure("own route, its breaker is open", own, CALLS)
    stopping.set()
    for caller in callers:
        caller.join()
    asked.seconds = time.perf_counter() - began
    note = f"Once the breaker is open, the own route's p99 is {later.percentile(99) / idle.percentile(99):.2f} times the idle one."
    show("A upstream that answers after 10 s", [idle, first, later, asked], [note])


def _call(url: str, asked: Series, stopping: threading.Event) -> None:
    """As a customer would: not again at once."""
    while not stopping.wait(0.2):
        began = time.perf_counter()
        pool.request("GET", url)
        asked.milliseconds.append((time.perf_counter() - began) * 1_000)


def hang() -> None:
    app = Flask("hanging")

    @app.get("/slow")
    def answer() -> dict[str, str]:
        time.sleep(HANGS_SECONDS)
        return {"text": "at last"}

    web_server.run(app, Settings(threads=64))


def ask() -> None:
    service = Service("bench", Settings, lambda: {"/asking": Asking, "/own": Own})
    web_server.run(web_app.build(service), service.settings)


if __name__ == "__main__":
    {"hang": hang, "ask": ask}.get(sys.argv[-1], main)()
