"""A password and a token are found nowhere but where they belong: in the request and in its answer."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3
from sqlalchemy import text

from ..conftest import JWT_KEYS
from .conftest import person

CANARY = "canary-d41d8cd98f00b204"


@dataclass
class Process:
    """The web process as it runs in production, logging all that it can."""

    address: str
    output: Path
    popen: subprocess.Popen[bytes]

    def post(self, path: str, body: Any, method: str = "POST", **headers: str) -> tuple[int, Any]:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **headers}
        answer = urllib3.request(method, self.address + path, body=raw, headers=sent, timeout=10, retries=False)
        return answer.status, json.loads(answer.data)

    def stop(self) -> str:
        """All that it said."""
        self.popen.send_signal(signal.SIGTERM)
        assert self.popen.wait(20) == 0
        return self.output.read_text()


@pytest.fixture
def process(users, tmp_path) -> Iterator[Process]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        "SOUK_PORT": str(port),
        "SOUK_DATABASE_URL": users.settings.database_url,
        "SOUK_JWT_KEYS": json.dumps(JWT_KEYS),
        "SOUK_LOG_LEVEL": "debug",
        "SOUK_REDIS_URL": users.settings.redis_url,
        "SOUK_REQUEST_SECRET": users.settings.request_secret.get_secret_value(),
    }
    output = tmp_path / "output"
    with output.open("wb") as file:
        command = [sys.executable, "-m", "chassis", "web", "services.users"]
        popen = subprocess.Popen(command, env={**os.environ, **environment}, stdout=file, stderr=subprocess.STDOUT)
    try:
        address = f"http://127.0.0.1:{port}"
        until_ready = urllib3.Retry(200, backoff_factor=0.1, backoff_max=0.2, status_forcelist=[503])
        assert urllib3.request("GET", f"{address}/health/ready", retries=until_ready).status == 200, output.read_text()
        yield Process(address, output, popen)
    finally:
        popen.kill()
        popen.wait()


def test_no_password_and_no_token_is_found_in_logs_metrics_or_tables(process, users):
    registration = person(password=CANARY)
    assert process.post("/users/register", registration, **{"Idempotency-Key": "1"})[0] == 201
    status, session = process.post("/users/login", {"email": "ada@example.com", "password": CANARY})
    assert status == 200
    bearer = {"Authorization": f"Bearer {session['access_token']}"}
    profile = f"/users/{session['user_id']}"
    for path, body, method, expected in [
        ("/users/register", registration, "POST", 409),
        ("/users/register", {**registration, "password": [CANARY]}, "POST", 422),
        ("/users/register", {**registration, "passwort": CANARY}, "POST", 422),
        ("/users/register", json.dumps(registration).encode()[:-1], "POST", 400),
        ("/users/login", {"email": "eve@example.com", "password": CANARY}, "POST", 401),
        ("/users/login?password=" + CANARY, {"email": "eve", "password": CANARY}, "POST", 422),
        (profile, registration, "PUT", 422),
    ]:
        status, answer = process.post(path, body, method, **bearer)
        assert status == expected, answer
        assert CANARY not in str(answer)
    metrics = urllib3.request("GET", f"{process.address}/metrics").data.decode()
    said = process.stop()
    kept = everything(users)
    assert '"event": "request"' in said
    assert "flask_http_request" in metrics
    assert "ada@example.com" in kept
    for secret in (CANARY, session["access_token"]):
        for sink in (said, metrics, kept):
            assert secret not in sink


def everything(users) -> str:
    """Every row of every table of the service."""
    with users.store.database.engine.connect() as connection:
        tables = connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all()
        rows = [connection.scalars(text(f"SELECT row_to_json(row)::text FROM {table} row")).all() for table in tables]
    return "\n".join(row for table in rows for row in table)
