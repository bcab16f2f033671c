"""Log lines are JSON, and hold no secrets."""

import json
import subprocess
import sys

from chassis.base import telemetry

LINES = r"""
import logging, sys
from uuid import UUID
from structlog import get_logger
from chassis.base import telemetry

telemetry.configure_logging("test", "info")
with telemetry.trace(work="GET /"):
    get_logger("a").info("request", route='/"\\\n\x00\u2028\ud800<é>', status=200, ratio=0.5, none=None, id=UUID(int=1))
    get_logger("a").info("login", Password="canary", inner={"Token": "canary", "list": [{"card": "canary"}]})
    logging.getLogger("b").warning("%s\n%s", "two", "lines")
sys.stdout.flush()
"""


def logged() -> list[dict[str, object]]:
    run = subprocess.run([sys.executable, "-c", LINES], capture_output=True, check=True)
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_any_text_stays_within_its_line() -> None:
    request, _, library = logged()
    assert request["route"] == '/"\\\n\x00\u2028\ud800<é>'
    assert (request["status"], request["ratio"], request["none"]) == (200, 0.5, None)
    assert (request["event"], request["service"], request["level"]) == ("request", "test", "info")
    assert request["work"] == "GET /"
    assert str(request["traceparent"]).split("-")[1] == request["trace_id"]
    assert library["event"] == "two\nlines"


def test_no_secret_is_logged() -> None:
    assert "canary" not in json.dumps(logged())


def test_secrets_are_blanked_at_any_depth() -> None:
    event = {"event": "x", "password": "p", "body": {"Token": "t", "lines": [{"card": "c", "quantity": 2}]}}
    assert telemetry.redact(None, "info", event) == {
        "event": "x",
        "password": "[redacted]",
        "body": {"Token": "[redacted]", "lines": [{"card": "[redacted]", "quantity": 2}]},
    }
