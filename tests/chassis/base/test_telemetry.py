"""Log lines are JSON, and hold no secrets."""

import json
import subprocess
import sys

import pytest
from prometheus_client import REGISTRY
from structlog import get_logger

from chassis.base import telemetry, tracing

LINES = r"""
import logging, sys
from uuid import UUID
from structlog import get_logger
from chassis.base import telemetry, tracing

telemetry.configure_logging("test", "info")
with tracing.trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", work="GET /"):
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
    assert request["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
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


def test_only_an_id_as_the_edge_makes_them_is_logged_as_a_correlation_id() -> None:
    made = "3f2b7c1e-8a4d-4c55-9e0b-1d2c3b4a5f60"
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    assert tracing.identity(trace, made) == {"trace_id": "a" * 32, "correlation_id": made}
    assert tracing.identity("", "4929939187355598") == {}
    assert tracing.identity(f"{trace}4929939187355598", f"{made}token") == {}


def test_lines_can_be_written_together(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure_logging("test", "info")
    log = get_logger("together")
    with telemetry.one_write():
        log.info("first")
        log.info("second")
        assert capsys.readouterr().out == ""
    assert [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()] == ["first", "second"]


def test_lines_are_written_together_once_however_nested_also_after_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure_logging("test", "info")
    log = get_logger("nested")

    def fail() -> None:
        with telemetry.one_write():
            log.info("first")
            with telemetry.one_write():
                log.info("second")
            assert capsys.readouterr().out == ""
            log.info("third")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    log.info("fourth")
    written = [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()]
    assert written == ["first", "second", "third", "fourth"]


def test_a_gauge_is_shown_once_it_is_set() -> None:
    name = "souk_of_another_program"
    gauge = telemetry.OwnGauge(name, "Imported everywhere, set in one program.")
    assert REGISTRY.get_sample_value(name) is None
    try:
        for value in (3.0, 4.0):
            gauge.set(value)
            assert REGISTRY.get_sample_value(name) == value
    finally:
        REGISTRY.unregister(gauge)


LONG_LINES = """
import logging, threading
from structlog import get_logger
from chassis.base import telemetry

telemetry.configure_logging("test", "info")
ours, theirs = get_logger("a").info, logging.getLogger("b").warning
threads = [threading.Thread(target=lambda write=write: [write("x" * 300_000) for _ in range(20)]) for write in (ours, theirs)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_long_lines_of_several_threads_do_not_mix() -> None:
    """Longer than a pipe takes at once."""
    run = subprocess.run([sys.executable, "-u", "-c", LONG_LINES], capture_output=True, check=True)
    assert [len(json.loads(line)["event"]) for line in run.stdout.splitlines()] == [300_000] * 40
