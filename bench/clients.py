"""The cost of a call: three bare HTTP libraries and chassis.clients."""

import json
import sys
from collections.abc import Callable
from typing import Any

import httpx
import requests
import urllib3
from flask import Flask

from bench._edges import free_port, program
from bench._measure import Series, measure, show
from chassis.base import telemetry
from chassis.base.settings import Settings
from chassis.clients import Client
from chassis.run import web_server

CALLS, ROUNDS = 100, 30
"""Alternating, so that other load affects all alike."""

PATH, QUERY = "/products", {"ids": "1,2"}


def main() -> None:
    telemetry.configure_logging("bench", "error")
    port = free_port()
    with program(port, "bench.clients", "serve", environment={"SOUK_PORT": str(port)}):
        found = _alternating(_subjects(f"http://127.0.0.1:{port}"))
    bare, ours = found[0].percentile(50), found[-1].percentile(50)
    show("A call to an upstream", found, [f"chassis.clients takes {ours / bare:.2f} times urllib3's median."])


def serve() -> None:
    app = Flask("upstream")
    app.add_url_rule(PATH, view_func=lambda: {"items": [{"id": number, "price": "12.50"} for number in range(2)]})
    web_server.run(app, Settings())


def _subjects(url: str) -> dict[str, Callable[[], Any]]:
    pool, session, client = urllib3.PoolManager(), requests.Session(), httpx.Client()
    ours, settings = Client("upstream"), Settings(services={"upstream": url}, api_key="key")
    return {
        "urllib3": lambda: json.loads(pool.request("GET", url + PATH, fields=QUERY).data),
        "httpx": lambda: client.get(url + PATH, params=QUERY).json(),
        "requests": lambda: session.get(url + PATH, params=QUERY).json(),
        "chassis.clients": lambda: ours.get(PATH, QUERY, settings),
    }


def _alternating(subjects: dict[str, Callable[[], Any]]) -> list[Series]:
    found = {name: Series(name) for name in subjects}
    for turn in range(ROUNDS + 1):
        for name, call in subjects.items():
            series = measure(name, call, CALLS)
            if turn:  # the first is the warm-up
                found[name].milliseconds += series.milliseconds
                found[name].seconds += series.seconds
    return list(found.values())


if __name__ == "__main__":
    serve() if sys.argv[-1] == "serve" else main()
