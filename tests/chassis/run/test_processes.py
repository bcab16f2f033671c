"""The processes of a service, as `python -m chassis` runs them: they become ready and stop on SIGTERM."""

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import urllib3

from chassis.messaging import broker
from tests.conftest import server_url
from tests.installation import until
from tests.ports import free_port
from tests.wire import Wire, reset

ROOT = Path(__file__).parents[3]
DEADLINE_SECONDS = 40
HALF_BODIES = 60
Run = Callable[[str, str], tuple[subprocess.Popen[bytes], int]]


@pytest.fixture(scope="module")
def environment(make_database: Callable[[str], str]) -> dict[str, str]:
    values = {
        "SOUK_DATABASE_URL": make_database("processes"),
        "SOUK_BROKER_URL": server_url("BROKER"),
        "SOUK_JWT_KEYS": '{"test": "a secret that is long enough for HS256!"}',
        "SOUK_SMTP_URL": "smtp://127.0.0.1:1",
    }
    environment = {**os.environ, **values}
    chassis("migrate", environment)
    return environment


def chassis(command: str, environment: Mapping[str, str]) -> str:
    """What it prints."""
    arguments = [sys.executable, "-m", "chassis", command, "services.notifications"]
    done = subprocess.run(
        arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def run(environment: dict[str, str]) -> Iterator[Run]:
    """Runs `python -m chassis COMMAND PACKAGE` on a free port, until the end of the test."""
    running: list[subprocess.Popen[bytes]] = []

    def start(command: str, package: str) -> tuple[subprocess.Popen[bytes], int]:
        port = free_port()
        arguments = [sys.executable, "-m", "chassis", command, package]
        process = subprocess.Popen(arguments, cwd=ROOT, env={**environment, "SOUK_PORT": str(port)})
        running.append(process)
        return process, port

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait(DEADLINE_SECONDS)


def get(port: int, path: str) -> urllib3.BaseHTTPResponse:
    retries = urllib3.Retry(total=60, backoff_factor=0.1, backoff_max=1, status_forcelist=[503])
    return urllib3.request("GET", f"http://127.0.0.1:{port}{path}", retries=retries, timeout=DEADLINE_SECONDS)


def test_migrations_can_run_twice_and_openapi_is_printed(environment: dict[str, str]) -> None:
    chassis("migrate", environment)
    assert '"openapi"' in chassis("openapi", environment)


@pytest.mark.parametrize("command", ["web", "worker", "celery"])
def test_a_process_becomes_ready_and_stops_when_asked(run: Run, command: str) -> None:
    process, port = run(command, "services.notifications")
    assert get(port, "/health/ready").status == 200
    assert get(port, "/health/live").status == 200
    metrics = get(port, "/metrics").data
    assert b'souk_ready{check="database"} 1.0' in metrics
    assert (b"souk_timer_last_success_timestamp_seconds{" in metrics) == (command == "worker"), "where it is set"
    assert (b"\nsouk_outbox_oldest_unsent_timestamp_seconds " in metrics) <= (command == "worker"), (
        "others relay nothing"
    )
    assert (b"\nsouk_notifications_dead " in metrics) <= (command == "worker"), "no other program reports 0"
    assert get(port, "/nothing").status == 404
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE_SECONDS) == 0


def test_clients_that_send_half_a_body_silence_neither_health_nor_reads(run: Run) -> None:
    _, port = run("web", "services.notifications")
    assert get(port, "/health/ready").status == 200
    half = b"POST /notifications/email HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf"
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(HALF_BODIES)]
    for connection in slow:
        connection.sendall(half)

    def send(method: str, path: str) -> urllib3.BaseHTTPResponse:
        url = f"http://127.0.0.1:{port}{path}"
        body = b"{}" if method == "POST" else None
        return urllib3.request(method, url, body=body, retries=False, timeout=DEADLINE_SECONDS)

    assert (send("GET", "/health/live").status, send("GET", f"/notifications/{uuid4()}").status) == (200, 401)
    refused = until(lambda: response if (response := send("POST", "/notifications/email")).status == 503 else None)
    assert (refused.json()["type"], refused.headers["Retry-After"]) == ("/problems/unavailable", "2")
    for connection in slow:
        connection.close()
    until(lambda: send("POST", "/notifications/email").status == 401)


def test_half_a_body_is_refused_in_bounded_time(
    environment: dict[str, str], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(environment, "SOUK_REQUEST_TIMEOUT_SECONDS", "1")
    _, port = run("web", "services.notifications")
    assert get(port, "/health/ready").status == 200
    url = f"http://127.0.0.1:{port}/notifications/email"
    half = b"POST /notifications/email HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nhalf"
    slow = [socket.create_connection(("127.0.0.1", port), DEADLINE_SECONDS) for _ in range(HALF_BODIES)]
    for connection in slow:
        connection.sendall(half)
    stopped = threading.Event()

    def trickle() -> None:
        while not stopped.wait(0.2):
            with suppress(OSError):
                slow[0].sendall(b".")

    trickler = threading.Thread(target=trickle)
    trickler.start()
    try:
        # Their connections stay open, and one goes on sending.
        until(lambda: urllib3.request("POST", url, body=b"{}", retries=False, timeout=DEADLINE_SECONDS).status == 401)
        statuses = {connection.recv(100)[:12] for connection in slow}
    finally:
        stopped.set()
        trickler.join()
        for connection in slow:
            connection.close()
    assert statuses <= {b"HTTP/1.1 408", b"HTTP/1.1 503"}
    assert b"HTTP/1.1 408" in statuses


@pytest.mark.parametrize("size", [1_000_000, 5_000_000])
def test_a_refusal_reaches_a_client_that_is_still_sending(run: Run, size: int) -> None:
    _, port = run("web", "services.notifications")
    assert get(port, "/health/ready").status == 200
    url = f"http://127.0.0.1:{port}/notifications/email"
    response = urllib3.request("POST", url, body=b"x" * size, retries=False, timeout=DEADLINE_SECONDS)
    assert response.status == 401


def test_a_worker_without_its_queue_is_not_ready(run: Run) -> None:
    with broker.connect(server_url("BROKER")) as connection:
        queue = connection.default_channel
        queue.queue_delete("idle")
        queue.queue_declare("idle", durable=True, auto_delete=False)
        _, port = run("worker", "tests.chassis.idle")
        alive = get(port, "/health/live")
        ready = urllib3.request("GET", f"http://127.0.0.1:{port}/health/ready", retries=False)
        queue.queue_delete("idle")
    assert (alive.status, ready.status, ready.json()["checks"]["broker"]) == (200, 503, "ConnectionError")
    assert get(port, "/health/ready").status == 200


def test_a_worker_is_not_ready_while_the_broker_takes_no_messages(environment: dict[str, str], run: Run) -> None:
    wire, environment["SOUK_BROKER_URL"] = Wire.to(server_url("BROKER"))

    def ready() -> urllib3.BaseHTTPResponse:
        return urllib3.request("GET", f"http://127.0.0.1:{port}/health/ready", retries=False)

    try:
        _, port = run("worker", "tests.chassis.idle")
        assert get(port, "/health/ready").status == 200
        wire.freeze_responses()
        until(lambda: ready().status == 503)
        assert ready().json()["checks"]["relay"] == "ConnectionError"
        wire.thaw()
        until(lambda: ready().status == 200)
    finally:
        environment["SOUK_BROKER_URL"] = server_url("BROKER")
        wire.thaw()
        wire.cut()


def test_a_worker_whose_password_the_broker_refuses_is_not_ready(environment: dict[str, str], run: Run) -> None:
    right = urlsplit(server_url("BROKER"))
    environment["SOUK_BROKER_URL"] = right._replace(netloc=f"guest:wrong@{right.hostname}:{right.port}").geturl()
    try:
        process, port = run("worker", "tests.chassis.idle")
        assert get(port, "/health/live").status == 200
        ready = urllib3.request("GET", f"http://127.0.0.1:{port}/health/ready", retries=False)
        assert (ready.status, ready.json()["checks"]["broker"]) == (503, "ConnectionError")
        assert process.poll() is None
    finally:
        environment["SOUK_BROKER_URL"] = server_url("BROKER")


def test_a_client_that_resets_leaves_a_log_line_and_no_traceback(environment: dict[str, str]) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "chassis", "worker", "tests.chassis.idle"],
        cwd=ROOT,
        env={**environment, "SOUK_PORT": str(port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        assert get(port, "/health/live").status == 200
        reset(port)
        assert get(port, "/health/live").status == 200
    finally:
        process.terminate()
        output = process.communicate(timeout=DEADLINE_SECONDS)[0].decode()
    assert [line for line in output.splitlines() if not line.startswith("{")] == []
    assert '"event": "health request failed"' in output


def test_a_killed_web_process_frees_its_port(run: Run) -> None:
    process, port = run("web", "services.notifications")
    assert get(port, "/health/live").status == 200
    process.kill()
    process.wait(DEADLINE_SECONDS)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


def test_an_invalid_setting_is_reported_in_one_line(environment: dict[str, str]) -> None:
    arguments = [sys.executable, "-m", "chassis", "web", "services.notifications"]
    wrong = {**environment, "SOUK_PORT": "eighty"}
    done = subprocess.run(arguments, cwd=ROOT, env=wrong, capture_output=True, timeout=DEADLINE_SECONDS, check=False)
    assert done.returncode == 1
    assert done.stderr.decode().startswith("SOUK_PORT: ")
    assert len(done.stderr.decode().splitlines()) == 1


def test_a_body_that_is_too_large_is_read_so_that_its_sender_gets_the_response(run: Run) -> None:
    _, port = run("web", "services.notifications")
    assert get(port, "/health/live").status == 200
    body = b"x" * 4_000_000
    headers = {"Content-Type": "application/json", "X-API-Key": "k", "Content-Length": str(len(body))}
    for path, status in (("/notifications/email", 401), ("/nothing", 404)):
        response = urllib3.request("POST", f"http://127.0.0.1:{port}{path}", body=body, headers=headers)
        assert (response.status, response.headers["Content-Type"]) == (status, "application/problem+json")
