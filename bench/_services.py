"""A service's web process on its own fresh database."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import urllib3
from sqlalchemy import create_engine, text

SECRET = "k" * 32
API_KEY = "of the orders service"
API_CALLERS = json.dumps({"orders": hashlib.sha256(API_KEY.encode()).hexdigest()})


@contextmanager
def postgres() -> Iterator[str]:
    """A new database's URL."""
    server = os.environ["SOUK_TEST_POSTGRES_URL"]
    name = f"bench_{uuid.uuid4().hex[:8]}"
    admin = create_engine(server.replace("postgresql://", "postgresql+psycopg2://", 1), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield urlsplit(server)._replace(path=f"/{name}").geturl()
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def environment(**more: str) -> dict[str, str]:
    return {
        **os.environ,
        "SOUK_JWT_KEYS": json.dumps({"bench": SECRET}),
        "SOUK_REDIS_URL": os.environ["SOUK_TEST_REDIS_URL"],
        "SOUK_BROKER_URL": os.environ["SOUK_TEST_BROKER_URL"],
        "SOUK_LOG_LEVEL": "warning",
        **more,
    }


def products_environment() -> dict[str, str]:
    return {"SOUK_MONGO_URL": mongo_database()}


def migrate(service: str, settings: dict[str, str], seeded: bool = True) -> None:
    subprocess.run([sys.executable, "-m", "chassis", "migrate", f"services.{service}"], env=settings, check=True)
    if service == "products" and seeded:
        command = [sys.executable, "-m", "services.products.commands", "seed"]
        subprocess.run(command, env=settings, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def serving(service: str, settings: dict[str, str], seeded: bool = True) -> Iterator[str]:
    """Yields its base URL, on a migrated schema."""
    settings = environment(**settings)
    migrate(service, settings, seeded)
    with program(["chassis", "web", f"services.{service}"], settings) as (url, _):
        yield url


@contextmanager
def program(module: list[str], settings: dict[str, str]) -> Iterator[tuple[str, int]]:
    """`python -m MODULE`, once it is ready: its base URL and process id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", *module]
    process = subprocess.Popen(command, env={**settings, "SOUK_PORT": str(port)}, stdout=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: is_ready(url))
        yield url, process.pid
    finally:
        process.terminate()
        process.wait()


def is_ready(url: str) -> bool:
    try:
        return urllib3.request("GET", f"{url}/health/ready", retries=False).status in (200, 404)
    except urllib3.exceptions.HTTPError:
        return False


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.05)


def mongo_database() -> str:
    """URL of an empty database."""
    return urlunsplit(urlsplit(os.environ["SOUK_TEST_MONGO_URL"])._replace(path=f"/bench_{uuid.uuid4().hex[:8]}"))
