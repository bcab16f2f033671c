"""The users service over HTTP, in this process and in others."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any
from uuid import UUID

import pytest
import urllib3
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from chassis.run.service import Service
from chassis.storage import postgres, redis
from services.users import commands, passwords
from services.users.models.user import User
from services.users.settings import Settings
from tests.ports import free_port

from ..conftest import JWT_KEYS

PASSWORD = "correct horse battery"

Register = Callable[..., TestResponse]


def person(name: str = "ada", **changes: Any) -> dict[str, Any]:
    """The body of a valid registration, with `changes`."""
    return {
        "email": f"{name}@example.com",
        "username": name,
        "password": PASSWORD,
        "first_name": name.title(),
        "last_name": "Lovelace",
        **changes,
    }


@pytest.fixture
def http(client: Callable[[Service], FlaskClient], users: Service) -> FlaskClient:
    return client(users)


@pytest.fixture
def register(http: FlaskClient) -> Register:
    """Registers a person and returns the account."""

    def post(name: str = "ada", **changes: Any) -> Any:
        response = http.post("/users/register", json=person(name, **changes))
        assert response.status_code == 201, response.text
        return response.json

    return post


@pytest.fixture
def log_in(http: FlaskClient) -> Callable[..., TestResponse]:
    def post(email: str = "ada@example.com", password: str = PASSWORD) -> TestResponse:
        return http.post("/users/login", json={"email": email, "password": password})

    return post


@pytest.fixture
def make_staff(users: Service) -> Callable[[str, str], None]:
    """Grants a role as an operator does."""

    def run(email: str, role: str) -> None:
        commands.main(["staff", "--email", email, "--role", role])

    return run


@pytest.fixture
def deactivate(users: Service) -> Callable[[str], None]:
    """Makes an account inactive, by its id, as an operator may in the database."""

    def set_inactive(user_id: str) -> None:
        with users.store.transaction():
            postgres.session().get_one(User, UUID(user_id)).is_active = False

    return set_inactive


@pytest.fixture
def settings(users: Service) -> Iterator[Callable[..., None]]:
    """Changes these settings for the rest of the test."""
    before = Settings.current()

    def change(**values: Any) -> None:
        Settings.use(**{**before.model_dump(), **values})

    yield change
    Settings.use(**before.model_dump())


@contextmanager
def hashes_held() -> Iterator[None]:
    """Blocks the hashing thread, where max_concurrent_hashes is 1."""
    busy, done = Event(), Event()

    def hold() -> None:
        busy.set()
        assert done.wait(30)

    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(passwords.at_low_priority, hold)
        assert busy.wait(30)
        try:
            yield
        finally:
            done.set()
            held.result()


@dataclass
class Process:
    """A web process, started as in production."""

    address: str
    output: Path
    popen: "subprocess.Popen[bytes]"

    def post(self, path: str, body: Any, method: str = "POST", **headers: str) -> tuple[int, Any]:
        response = self.request(path, body, method, **headers)
        return response.status, json.loads(response.data)

    def request(self, path: str, body: Any, method: str = "POST", **headers: str) -> urllib3.BaseHTTPResponse:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **headers}
        return urllib3.request(method, self.address + path, body=raw, headers=sent, timeout=30, retries=False)

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.popen.terminate()
        return self.popen.wait(60)


@pytest.fixture
def start(users: Service, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts a web process on the database and Redis of `users`, with further settings by name."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(**settings: object) -> Process:
        port = free_port()
        values = {
            "port": port,
            "database_url": users.settings.database_url,
            "redis_url": users.settings.redis_url,
            "jwt_keys": json.dumps(JWT_KEYS),
            "request_secret": users.settings.request_secret.get_secret_value(),
            **settings,
        }
        environment = {f"SOUK_{name.upper()}": str(value) for name, value in values.items()}
        output = tmp_path / f"output-{port}"
        with output.open("wb") as file:
            command = [sys.executable, "-m", "chassis", "web", "services.users"]
            popen = subprocess.Popen(command, env={**os.environ, **environment}, stdout=file, stderr=subprocess.STDOUT)
        running.append(popen)
        address = f"http://127.0.0.1:{port}"
        until_ready = urllib3.Retry(200, backoff_factor=0.1, backoff_max=0.2, status_forcelist=[503])
        assert urllib3.request("GET", f"{address}/health/ready", retries=until_ready).status == 200, output.read_text()
        return Process(address, output, popen)

    yield begin
    for popen in running:
        popen.kill()
        popen.wait()


@pytest.fixture(autouse=True)
def _reset_counts(users: Service) -> Iterator[None]:
    yield
    client = redis.client(users.settings.redis_url)
    for key in client.scan_iter("souk:users:*"):
        client.delete(key)
