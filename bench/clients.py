"""What one call to a neighbour costs: three HTTP libraries bare, and chassis.clients, against the same server in one run.

The server is a process of its own, bare Flask on granian with a small JSON answer; all connections are kept open.
"""

import json
import multiprocessing
import socket
from collections.abc import Callable
from typing import Any

import httpx
import requests
import urllib3
from flask import Flask

from bench._measure import Series, measure, show
from chassis import telemetry, web
from chassis.clients import Client
from chassis.settings import Settings

CALLS, ROUNDS = 100, 30
"""Rounds of calls: the subjects take turns, so that a busy moment of the machine does not fall on one of them alone."""

PATH, QUERY = "/products", {"ids": "1,2"}


def main() -> None:
    telemetry.configure_logging("bench", "error")
    port = _free_port()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(port,), daemon=True)
    server.start()
    try:
        urllib3.request(
            "GET", f"http://127.0.0.1:{port}{PATH}", retries=urllib3.Retry(100, backoff_factor=0.1, backoff_max=0.2)
        )
        found = _in_turns(_subjects(f"http://127.0.0.1:{port}"))
    finally:
        server.terminate()
    bare, ours = found[0].percentile(50), found[-1].percentile(50)
    show("A call to a neighbour", found, [f"chassis.clients takes {ours / bare:.2f} times urllib3's median."])


def serve(port: int) -> None:
    app = Flask("neighbour")
    app.add_url_rule(PATH, view_func=lambda: {"items": [{"id": number, "price": "12.50"} for number in range(2)]})
    web.run(app, Settings(port=port))


def _subjects(url: str) -> dict[str, Callable[[], Any]]:
    pool, session, client = urllib3.PoolManager(), requests.Session(), httpx.Client()
    ours, settings = Client("neighbour"), Settings(services={"neighbour": url}, api_key="key")
    return {
        "urllib3": lambda: json.loads(pool.request("GET", url + PATH, fields=QUERY).data),
        "httpx": lambda: client.get(url + PATH, params=QUERY).json(),
        "requests": lambda: session.get(url + PATH, params=QUERY).json(),
        "chassis.clients": lambda: ours.get(PATH, QUERY, settings),
    }


def _in_turns(subjects: dict[str, Callable[[], Any]]) -> list[Series]:
    found = {name: Series(name) for name in subjects}
    for turn in range(ROUNDS + 1):
        for name, call in subjects.items():
            series = measure(name, call, CALLS)
            if turn:  # the first is the warm-up
                found[name].milliseconds += series.milliseconds
                found[name].seconds += series.seconds
    return list(found.values())


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
