"""Passwords and tokens appear nowhere but in a request and its response."""

import json
import os
from pathlib import Path

import urllib3
from sqlalchemy import text

from .conftest import person

CANARY = "canary-d41d8cd98f00b204"


def test_no_password_or_token_is_in_logs_metrics_or_tables(start, users):
    process = start(log_level="debug")
    registration = person(password=CANARY)
    assert process.post("/users/register", registration, **{"Idempotency-Key": "1"})[0] == 201
    status, session = process.post("/users/login", {"email": "ada@example.com", "password": CANARY})
    assert status == 200
    bearer = {"Authorization": f"Bearer {session['access_token']}"}
    profile = f"/users/{session['user_id']}"
    for path, body, method, expected in [
        ("/users/register", registration, "POST", 409),
        ("/users/register", {**registration, "username": "other"}, "POST", 201),
        ("/users/register", {**registration, "password": [CANARY]}, "POST", 422),
        ("/users/register", {**registration, "passwort": CANARY}, "POST", 422),
        ("/users/register", json.dumps(registration).encode()[:-1], "POST", 400),
        ("/users/login", {"email": "eve@example.com", "password": CANARY}, "POST", 401),
        ("/users/login?password=" + CANARY, {"email": "eve", "password": CANARY}, "POST", 422),
        (profile, registration, "PUT", 422),
    ]:
        status, response = process.post(path, body, method, **bearer)
        assert status == expected, response
        assert CANARY not in str(response)
    metrics = urllib3.request("GET", f"{process.address}/metrics").data.decode()
    assert process.stop() == 0
    logs = process.output.read_text()
    servers = "".join(
        file.read_text(errors="replace") for file in Path(os.environ["SOUK_TEST_SERVER_LOGS"]).glob("*.log")
    )
    rows = everything(users)
    assert '"event": "request"' in logs
    assert "flask_http_request" in metrics
    assert "ada@example.com" in rows
    for secret in (CANARY, session["access_token"]):
        for sink in (logs, metrics, rows, servers):
            assert secret not in sink


def everything(users) -> str:
    """Every row of every table, as text."""
    with users.store.engine.connect() as connection:
        tables = connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all()
        rows = [connection.scalars(text(f"SELECT row_to_json(row)::text FROM {table} row")).all() for table in tables]
    return "\n".join(row for table in rows for row in table)
