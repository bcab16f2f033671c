"""An installation watched by real Prometheus and Alertmanager, whose times are FACTOR times shorter."""

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import urllib3
import yaml

from launcher.stack import Stack
from tests.installation import ROOT, until
from tests.ports import free_port

FACTOR = 10
"""As many times shorter: `for`, ranges, ages and the pace of scrapes."""

FIRE_SECONDS = RESOLVE_SECONDS = 480

UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def shorter(duration: str) -> str:
    return f"{max(1, int(duration[:-1]) * UNITS[duration[-1]] // FACTOR)}s"


def faster(rules: Any) -> Any:
    """Rules whose every duration is shorter."""
    for group in rules["groups"]:
        group.pop("interval", None)
        for rule in group["rules"]:
            rule["expr"] = re.sub(r"\[(\d+[smhd])\]", lambda found: f"[{shorter(found[1])}]", rule["expr"])
            if re.search(r"time\(\) -", rule["expr"]):
                rule["expr"] = re.sub(r"> (\d+)$", lambda found: f"> {int(found[1]) / FACTOR}", rule["expr"])
            for name in {"for", "keep_firing_for"} & rule.keys():
                rule[name] = shorter(rule[name])
    return rules


@dataclass
class Inbox:
    """What the webhook received."""

    events: list[tuple[float, str, str, str]] = field(default_factory=list)
    """When, alert, status, fingerprint."""

    watched: int = 0

    def receive(self, body: Any) -> None:
        for alert in body["alerts"]:
            if alert["labels"]["alertname"] == "Watchdog":
                self.watched += 1
            else:
                event = (time.monotonic(), alert["labels"]["alertname"], alert["status"], alert["fingerprint"])
                self.events.append(event)

    def fired_since(self, start: float) -> set[str]:
        return {alert for at, alert, status, _ in self.events if at >= start and status == "firing"}

    def open(self) -> set[str]:
        """Firing, by the last word on each."""
        last = {fingerprint: (alert, status) for _, alert, status, fingerprint in list(self.events)}
        return {alert for alert, status in last.values() if status == "firing"}


@dataclass
class Monitored:
    stack: Stack
    inbox: Inbox
    prometheus: str

    def pending(self) -> list[str]:
        """Names of alerts that fire or are about to."""
        found = urllib3.request("GET", f"{self.prometheus}/api/v1/alerts").json()["data"]["alerts"]
        return [alert["labels"]["alertname"] for alert in found if alert["labels"]["alertname"] != "Watchdog"]

    def is_quiet(self) -> bool:
        return not self.pending() and not self.inbox.open()

    def souk(self, *arguments: str) -> None:
        """As an operator would, on this installation."""
        environment = self.stack.installation.environment | {"SOUK_STATE_DIR": str(self.stack.state.path)}
        outcome = subprocess.run(
            [sys.executable, "-m", "launcher", *arguments],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert not outcome.returncode, outcome.stdout + outcome.stderr


@contextmanager
def webhook(inbox: Inbox) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            inbox.receive(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Not into the test's output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()


@contextmanager
def running(command: Sequence[str], folder: Path) -> Iterator[None]:
    with open(folder / f"{Path(command[0]).name}.log", "wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.kill()
            process.wait()


def alertmanager(folder: Path, installed: Path, url: str, port: int) -> list[str]:
    """The installation's configuration, with our webhook beside its mails."""
    configuration = json.loads((installed / "alertmanager.json").read_text())
    for route in (configuration["route"], *configuration["route"]["routes"]):
        for name in ("group_wait", "group_interval"):
            route[name] = "1s"
        route["repeat_interval"] = shorter(route["repeat_interval"])
    for receiver in configuration["receivers"]:
        receiver["webhook_configs"] = [{"url": url, "send_resolved": True}]
    (folder / "alertmanager.yml").write_text(json.dumps(configuration))
    options = ["--config.file=alertmanager.yml", "--storage.path=alerts", "--cluster.listen-address="]
    return ["prometheus-alertmanager", *options, f"--web.listen-address=127.0.0.1:{port}"]


def prometheus(folder: Path, installed: Path, alertmanager_port: int, port: int) -> list[str]:
    """The installation's configuration, faster."""
    configuration = yaml.safe_load((installed / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"}
    configuration["alerting"] = {
        "alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager_port}"]}]}]
    }
    for scraped in configuration["scrape_configs"]:
        for found in scraped["file_sd_configs"]:
            found["files"] = [str(installed / file) for file in found["files"]]
        if "authorization" in scraped:
            scraped["authorization"]["credentials_file"] = str(installed / "consul-token")
    (folder / "rules").mkdir()
    for file in (installed / "rules").glob("*.yml"):
        (folder / "rules" / file.name).write_text(yaml.safe_dump(faster(yaml.safe_load(file.read_text()))))
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    options = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"]
    # Resolved alerts are told for so long.
    return ["prometheus", *options, f"--web.listen-address=127.0.0.1:{port}", "--rules.alert.resend-delay=2s"]


@contextmanager
def monitored(stack: Stack, folder: Path) -> Iterator[Monitored]:
    installed, inbox = stack.state.path / "prometheus", Inbox()
    ports = [free_port(), free_port()]
    with ExitStack() as opened:
        url = opened.enter_context(webhook(inbox))
        opened.enter_context(running(alertmanager(folder, installed, url, ports[0]), folder))
        opened.enter_context(running(prometheus(folder, installed, *ports), folder))
        found = Monitored(stack, inbox, f"http://127.0.0.1:{ports[1]}")
        # The watchdog shows that the loop is closed.
        until(lambda: inbox.watched, FIRE_SECONDS)
        yield found
