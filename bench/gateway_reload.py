"""10,000 requests during 50 reloads of the gateway, and without. Fails unless all are 200."""

import json
import sys
import threading
import urllib.request

from bench._edges import free_port, gateway, program
from bench._load import Plan, drive
from bench._measure import Series, show

REQUESTS, RELOADS, CLIENTS = 10_000, 50, 16


def main() -> None:
    upstream = free_port()
    document = (
        '_format_version: "3.0"\n'
        "services: [{name: hello, host: targets, routes: [{name: hello, paths: [/]}]}]\n"
        f"upstreams: [{{name: targets, targets: [{{target: '127.0.0.1:{upstream}'}}]}}]\n"
    )
    with program(upstream, "bench._edges", "service", str(upstream)), gateway(document) as (port, admin_port, _):
        quiet = _driven("no reload", Plan(port, CLIENTS, 3.0))
        # Long enough for REQUESTS.
        seconds = 1.5 * REQUESTS / quiet.rate
        ended = threading.Event()
        reloads: list[int] = []
        thread = threading.Thread(
            target=_reload, args=(admin_port, document, seconds / RELOADS / 1.5, ended, reloads), daemon=True
        )
        thread.start()
        loaded = _driven(f"{RELOADS} reloads meanwhile", Plan(port, CLIENTS, seconds))
        ended.set()
        thread.join()
        show("Reloading", [quiet, loaded])
        requests = len(loaded.milliseconds)
        print(f"{requests:,} requests beside {len(reloads)} reloads, none failed")
        if requests < REQUESTS or len(reloads) < RELOADS:
            sys.exit("Too few requests or reloads for a result.")


def _reload(admin_port: int, document: str, pause: float, ended: threading.Event, reloads: list[int]) -> None:
    while not ended.wait(pause):
        text = document + f"# {len(reloads)}\n"
        if len(reloads) % 2:
            text += "consumers: [{username: other}]\n"
        body = json.dumps({"config": text}).encode()
        headers = {"Content-Type": "application/json"}
        url = f"http://127.0.0.1:{admin_port}/config"
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30) as reply:
            reloads.append(reply.status)


def _driven(name: str, plan: Plan) -> Series:
    outcome = drive(plan)
    assert outcome.errors == 0, f"{outcome.errors} connections were lost"
    assert set(outcome.statuses) == {"200"}, outcome.statuses
    return Series(name, outcome.milliseconds, outcome.seconds)


if __name__ == "__main__":
    main()
