"""Fixtures for every test: real servers given by `./souk test`, each service on a database of its own.

`users`, `products` and so on are the Services, migrated, and emptied after each test that used them. `client(service)` is a
service's HTTP client, `system(*services)` delivers their messages.
"""

import base64
import importlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hypothesis
import mongoengine
import psycopg2
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import create_engine, text
from werkzeug.serving import BaseWSGIServer, make_server

from chassis.discovery import consul, kubernetes
from chassis.run import web_app
from chassis.run.service import Service
from chassis.run.testing import System
from chassis.storage.postgres_store import PostgresStore
from devservers.mailbox.inbox import KEPT_MAILS, Inbox
from devservers.mailbox.letter import Letter
from devservers.mailbox.smtp import receiving
from launcher.manifests import CALLERS, SERVICES
from launcher.servers.mongo import database_url
from tests import documented

pytest_plugins = ["tests.installation", "tests.kubernetes", "tests.standby"]

# The same examples everywhere, on slow machines too.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True)
hypothesis.settings.load_profile("suite")

JWT_KEYS = {"test": "a secret that is long enough for HS256!"}
API_KEYS = {name: f"{name}-key" for name in SERVICES}

# On a busy machine Redis may take longer than a request waits for it, and a revoked token then passes.
PATIENT = "socket_timeout=30&socket_connect_timeout=30"

LOG_SECONDS = 30
"""From a container its lines come a moment later."""

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
"""`gw0`, `gw1`, ... where tests run in parallel."""


def server_url(name: str) -> str:
    """URL of a server started by `./souk test`. In Redis each worker has a database of its own."""
    url = os.environ.get(f"SOUK_TEST_{name}_URL")
    if url is None:
        advice = "These tests need servers of their own: run ./souk test"
        # Of a worker that exits, pytest-xdist would report a crash.
        pytest.fail(advice, pytrace=False) if WORKER else pytest.exit(advice, returncode=1)
    return f"{url.rpartition('/')[0]}/{int(WORKER[2:]) + 1}" if WORKER and name == "REDIS" else url


def need_local_servers(why: str) -> None:
    """Skips the test where servers run in containers."""
    if os.environ.get("SOUK_TEST_SERVERS"):
        pytest.skip(f"NOT TESTED in containers: {why}")


def postgres_log() -> str:
    """Of the tests' server, with all that it has logged so far."""
    log, last = Path(os.environ["SOUK_TEST_SERVER_LOGS"], "postgres.log"), f"so far {uuid.uuid4()}"
    connection = psycopg2.connect(server_url("POSTGRES"))
    try:
        connection.cursor().execute(f"DO $$ BEGIN RAISE WARNING '{last}'; END $$")
    finally:
        connection.close()
    deadline = time.monotonic() + LOG_SECONDS
    while last not in (text := log.read_text(errors="replace")):
        assert time.monotonic() < deadline, "PostgreSQL's log stands still"
        time.sleep(0.01)
    return text


@pytest.fixture(autouse=True)
def _no_discovery_of_another_test() -> Iterator[None]:
    """Its watch would go on, and meet whoever has that port later."""
    yield
    consul.catalogue.cache_clear()
    kubernetes.endpoint_slices.cache_clear()


@pytest.fixture(scope="session")
def make_database() -> Iterator[Callable[[str], str]]:
    """Creates an empty PostgreSQL database, dropped at the end, and returns its URL."""
    server = server_url("POSTGRES")
    admin = create_engine(server.replace("postgresql://", "postgresql+psycopg2://", 1), isolation_level="AUTOCOMMIT")
    made: list[str] = []

    def make(prefix: str) -> str:
        name = f"{prefix}_{uuid.uuid4().hex[:12]}"
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        made.append(name)
        return admin.url.set(drivername="postgresql", database=name).render_as_string(hide_password=False)

    yield make
    with admin.connect() as connection:
        for name in made:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


def prepare(name: str, make_database: Callable[[str], str], **values: Any) -> Service:
    """The service `name` with settings for this run and a migrated schema."""
    package = importlib.import_module(f"services.{name}")
    service: Service = importlib.import_module(f"services.{name}.app").service
    if not service.collections:
        values["database_url"] = make_database(name)
    service.settings_class.use(
        jwt_keys=JWT_KEYS,
        api_key=API_KEYS[name],
        api_callers={caller: _sha256(API_KEYS[caller]) for caller in CALLERS[name]},
        mongo_url=database_url(server_url("MONGO"), f"souk_{uuid.uuid4().hex[:12]}"),
        broker_url=server_url("BROKER"),
        redis_url=f"{server_url('REDIS')}?{PATIENT}",
        log_level="warning",
        **values,
    )
    service.store.migrate(package)
    return service


def _sha256(key: str) -> str:
    import hashlib

    return hashlib.sha256(key.encode()).hexdigest()


def empty(service: Service) -> None:
    """Delete all rows of the service's database."""
    if isinstance(service.store, PostgresStore):
        with service.store.engine.begin() as connection:
            names = connection.scalars(
                text("SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'")
            ).all()
            connection.execute(text(f"TRUNCATE {', '.join(names)} RESTART IDENTITY CASCADE"))
    else:
        database = mongoengine.get_db()
        for collection in database.list_collection_names():
            database[collection].delete_many({})


@pytest.fixture(scope="session")
def _users(make_database: Callable[[str], str]) -> Service:
    return prepare(
        "users",
        make_database,
        request_secret="a secret of the users service for tests",
        # A production hash takes 35 ms, and hundreds of tests register a user.
        argon2_memory_kibibytes=64,
        argon2_passes=1,
    )


@pytest.fixture(scope="session")
def _products(make_database: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Service:
    return prepare("products", make_database, search_directory=str(tmp_path_factory.mktemp("search")))


@pytest.fixture(scope="session")
def _orders(make_database: Callable[[str], str], products_address: str) -> Service:
    return prepare("orders", make_database, services={"products": products_address})


@pytest.fixture(scope="session")
def _payments(make_database: Callable[[str], str], bank_address: str) -> Service:
    return prepare("payments", make_database, sandbox_url=bank_address, sandbox_key="sandbox-key")


@pytest.fixture(scope="session")
def _notifications(make_database: Callable[[str], str], mailbox_address: str, users_address: str) -> Service:
    return prepare(
        "notifications",
        make_database,
        smtp_url=mailbox_address,
        sms_url=mailbox_address.replace("smtp:", "sandbox:"),
        services={"users": users_address},
        link_key="a key for links",
        vapid_key=base64.urlsafe_b64encode(b"a private key of thirty-two byte").decode(),
        push_hosts=("127.0.0.1", "push.example.com"),
        provider_timeout_seconds=5,
    )


@pytest.fixture
def users(_users: Service) -> Iterator[Service]:
    yield _users
    empty(_users)


@pytest.fixture
def products(_products: Service) -> Iterator[Service]:
    yield _products
    empty(_products)


@pytest.fixture
def orders(_orders: Service, products: Service) -> Iterator[Service]:
    yield _orders
    empty(_orders)


@pytest.fixture
def payments(_payments: Service) -> Iterator[Service]:
    yield _payments
    empty(_payments)


@pytest.fixture
def notifications(_notifications: Service) -> Iterator[Service]:
    yield _notifications
    empty(_notifications)


def waiting_for_locks(service: Service) -> int:
    """How many transactions on the service's database wait for another's lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    assert isinstance(service.store, PostgresStore)
    with service.store.engine.connect() as connection:
        return int(connection.scalar(text(waiting)))


_APPS: dict[str, Flask] = {}


def app_of(service: Service) -> Flask:
    if service.name not in _APPS:
        _APPS[service.name] = documented.watch(web_app.build(service))
    return _APPS[service.name]


@pytest.fixture
def client() -> Callable[[Service], FlaskClient]:
    """The HTTP client of a service."""
    return lambda service: app_of(service).test_client()


@pytest.fixture
def system() -> Callable[..., System]:
    """A System of the given services."""
    return lambda *services: System(services)


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[Any], str]]:
    """Serves a WSGI application on a free local port, and returns its base URL."""
    servers = []
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # Otherwise it logs every request.

    def start(web_app: Any) -> str:
        server = make_server("127.0.0.1", 0, web_app, threaded=True)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    # Each notices within half a second, and there are a hundred.
    with ThreadPoolExecutor(max(len(servers), 1)) as stopping:
        stopping.map(BaseWSGIServer.shutdown, servers)


@pytest.fixture(scope="session")
def products_address(_products: Service, serve: Callable[[Any], str]) -> str:
    """Base URL of the products service, on a real port: orders gets its prices there."""
    return serve(app_of(_products))


@pytest.fixture(scope="session")
def users_address(_users: Service, serve: Callable[[Any], str]) -> str:
    """Base URL of the users service, on a real port: notifications gets tokens there."""
    return serve(app_of(_users))


@pytest.fixture(scope="session")
def bank_address(serve: Callable[[Any], str]) -> str:
    """Base URL of the sandbox payment provider, whose key is "sandbox-key"."""
    from devservers import bank

    return serve(bank.create_app(None, "sandbox-key"))


class Mailbox:
    """A running development mail server, read in this process."""

    def __init__(self, inbox: Inbox, smtp_port: int) -> None:
        self.url = f"smtp://127.0.0.1:{smtp_port}"
        self._inbox = inbox
        self._emptied: set[str] = set()

    def letters(self, recipient: str = "") -> list[Letter]:
        """Mails since it was last emptied, oldest first; optionally to `recipient` only."""
        new = [mail.id for mail in self._inbox.latest(KEPT_MAILS, recipient) if mail.id not in self._emptied]
        return [letter for mail_id in reversed(new) if (letter := self._inbox.read(mail_id))]

    def empty(self) -> None:
        self._emptied = {mail.id for mail in self._inbox.latest(KEPT_MAILS)}


@pytest.fixture(scope="session")
def _mailbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mailbox]:
    inbox = Inbox(tmp_path_factory.mktemp("mails"))
    with receiving(inbox, "127.0.0.1", 0) as smtp_port:
        yield Mailbox(inbox, smtp_port)


@pytest.fixture(scope="session")
def mailbox_address(_mailbox: Mailbox) -> str:
    """SMTP URL of the development mail server."""
    return _mailbox.url


@pytest.fixture
def mailbox(_mailbox: Mailbox) -> Mailbox:
    """What `notifications` sent in this test."""
    _mailbox.empty()
    return _mailbox


def a_product(**fields: Any) -> dict[str, Any]:
    """The body of a request that adds a product, new at each call, with these fields replaced."""
    return {
        "sku": uuid.uuid4().hex[:12],
        "name": "Copper kettle",
        "description": "Holds a litre.",
        "category": "kitchen",
        "price": "12.50",
        "currency": "EUR",
        "stock_quantity": 5,
        **fields,
    }
