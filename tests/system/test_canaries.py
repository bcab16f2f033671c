"""Secrets are sent to every operation of the platform, and must then be found in no log, metric, exemplar, span, table, message or mail."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

import mongoengine.connection
import pytest
import redis
import urllib3
from amqp.exceptions import AMQPError
from kombu import Queue
from pymongo.errors import PyMongoError
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from chassis.messaging import broker
from chassis.messaging.envelope import Envelope
from chassis.messaging.publisher import Publisher
from launcher.stack import Stack
from launcher.temporary import SERVERS
from tests.installation import Person, catalogue_of, mails_url, until
from tests.operations import INNER, Operation, Place, Things, documents_of, operations_of, replaced, text_places
from tests.otlp import Receiver

PASSWORD = f"Canary-{uuid4().hex}-password"
TOKEN = f"canary{uuid4().hex}token"
CARD = "4929939187355598"
"""A number with a valid card checksum."""

CANARIES = (PASSWORD, TOKEN, CARD)
WITH_METRICS = ("-web", "-worker", "-celery", "-admin")
METHODS = ("get", "post", "put", "patch", "delete")

SECRET_FIELDS = {"password": PASSWORD, "current_password": PASSWORD, "new_password": PASSWORD, "token": TOKEN}
SECRET_FIELDS |= {"refresh_token": TOKEN, "payment_method": CARD, "card": CARD, "card_number": CARD}

HEADERS = ("User-Agent", "Referer", "Accept-Language", "If-Match", "X-Request-ID", "X-Forwarded-For", "Cookie")

WITH_QUEUE = ("products", "orders", "payments", "notifications")
"""The services that have a queue."""

CATALOGUE = ("/products/", "/products/{product_id}")
"""Products may contain such a number, an EAN; it is rejected everywhere else."""

_pool = urllib3.PoolManager(maxsize=8, timeout=30, retries=False)


def operations_at_the_edge(stack: Stack) -> Iterator[tuple[str, str]]:
    """Method and path of every operation at the edge."""
    document = _pool.request("GET", f"{stack.gateway_url}/openapi.json").json()
    for path, operations in document["paths"].items():
        for method in METHODS:
            if method in operations:
                yield method.upper(), path.replace("{", "").replace("}", "")


def send_canaries(person: Person, method: str, path: str) -> None:
    """Send the canaries in unknown fields, query, path and headers."""
    key = {"Idempotency-Key": uuid4().hex}
    bodies: list[Any] = [SECRET_FIELDS, {"nonsense": PASSWORD}, PASSWORD, [CARD, TOKEN]]
    for body in bodies:
        person.send(method, path, body, **key)
    person.send(method, f"{path}?token={TOKEN}&card={CARD}&password={quote(PASSWORD)}", {}, **key)
    person.send(method, f"{path}/{CARD}", {}, **key)
    person.send(method, path, {}, Authorization=f"Bearer {TOKEN}", **key)
    person.send(method, path, {}, **{"X-API-Key": TOKEN, "Cookie": f"session={TOKEN}", "Idempotency-Key": CARD})
    person.send(
        method, path, {}, **key, **dict.fromkeys(HEADERS, f"{CARD} {TOKEN}"), traceparent=f"00-{TOKEN[:32]}-{CARD}-01"
    )


def send_canaries_in_fields(sender: Person, things: Things, operation: Operation, places: list[Place]) -> None:
    """Send the canaries in every text field of an otherwise valid request."""
    for place in places:
        named = [value for name, value in SECRET_FIELDS.items() if name == place[-1]]
        for canary in {*named, *([] if operation.path in CATALOGUE else [CARD])}:
            body = replaced(things.body(operation), place, canary)
            headers = {"Idempotency-Key": uuid4().hex, "If-Match": "*"}
            response = sender.send(operation.method.upper(), things.path(operation), body, **headers)
            if canary == CARD and place[-1] not in SECRET_FIELDS:
                assert 400 <= response.status < 500, (operation.title, place, response.data)


@contextmanager
def recorded(stack: Stack) -> Iterator[list[bytes]]:
    """Every message published during the block."""
    messages: list[bytes] = []
    # Nothing responds to heartbeats in between.
    with broker.connect(stack.backing.broker, heartbeat=0) as connection:
        queue = Queue("", broker.EXCHANGE, "#", exclusive=True, auto_delete=True)(connection.default_channel)
        queue.declare()
        yield messages
        while message := queue.get(no_ack=True):
            messages.append(_bytes(message.body))


def dead_letters(stack: Stack) -> Iterator[tuple[str, str, str]]:
    """Queue, headers and body of every dead letter, which stays in its queue."""
    with broker.connect(stack.backing.broker) as connection:
        for name in (*(broker.dead_letter_queue(service).name for service in WITH_QUEUE), broker.UNROUTED):
            queue = Queue(name)(connection.default_channel)
            messages = list(iter(queue.get, None))
            for message in messages:
                yield queue.name, str(message.headers), _bytes(message.body).decode()
                message.requeue()


def _bytes(body: str | bytes) -> bytes:
    return body.encode() if isinstance(body, str) else bytes(body)


def written(stack: Stack) -> Iterator[tuple[str, str]]:
    """Place and content of logs, metrics, rows, documents, mails, dead letters and Redis."""
    for log in stack.state.logs.glob("*.log*"):
        yield f"log {log.name}", log.read_text(errors="replace")
    ports = {name: port for name, port in stack.installation.ports.items() if name.endswith(WITH_METRICS)}
    for name, port in ports.items():
        url = f"http://127.0.0.1:{port}/metrics"
        # With exemplars.
        accepted = {"Accept": "application/openmetrics-text"}
        yield f"metrics of {name}", _pool.request("GET", url, headers=accepted).data.decode()
    for service, url in stack.backing.databases.items():
        yield from _tables(service, url)
    client = mongoengine.connection.MongoClient(stack.backing.mongo["products"])  # type: ignore[attr-defined]
    with client:
        database = client.get_default_database()
        for name in database.list_collection_names():
            yield f"collection {name}", "\n".join(str(document) for document in database[name].find())
    yield "redis", "\n".join(_kept_by_redis(stack.backing.redis))
    for queue, headers, body in dead_letters(stack):
        yield f"dead letter in {queue}", headers + body
    mailbox = mails_url(stack)
    for mail in _pool.request("GET", f"{mailbox}?limit=1000").json()["items"]:
        yield "mail", _pool.request("GET", f"{mailbox}/{mail['id']}").data.decode()


def _tables(service: str, url: str) -> Iterator[tuple[str, str]]:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg2://", 1))
    with engine.connect() as connection:
        connection.execute(text("SET bytea_output = 'escape'"))
        tables = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).scalars()
        for table in list(tables):
            rows = connection.execute(text(f'SELECT t::text FROM "{table}" t')).scalars()
            yield f"table {table} of {service}", "\n".join(rows)
    engine.dispose()


def _kept_by_redis(url: str) -> Iterator[str]:
    readers = {b"hash": "hgetall", b"list": "lrange", b"set": "smembers", b"zset": "zrange", b"string": "get"}
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter():
            kind = client.type(key)
            bounds = (0, -1) if kind in (b"list", b"zset") else ()
            yield f"{key!r} {getattr(client, readers[kind])(key, *bounds)!r}"


@pytest.mark.timeout(600)
def test_no_secret_is_written_down_anywhere(stack: Stack, spans: Receiver, person: Any, admin: Person) -> None:
    leila, documents = person(), documents_of(stack)
    with recorded(stack) as events:
        _use_secrets(stack, leila)
        things = Things(documents, person(), catalogue_of(stack, admin))
        for method, path in operations_at_the_edge(stack):
            send_canaries(leila, method, path)
        for operation in operations_of(documents):
            places = text_places(documents[operation.service], operation)
            if places and not operation.path.startswith(INNER):
                sender = person() if operation.path.startswith("/users/me") else admin
                send_canaries_in_fields(sender, things, operation, places)
        _publish_a_bad_message(stack)
        _try_wrong_passwords(stack)
    seen = [*written(stack), *(("event", event.decode()) for event in events)]
    assert any("trace_id=" in content for where, content in seen if where.startswith("metrics")), "no exemplars"
    # Those of the requests above have been sent half a second after they ended.
    last = leila.send("GET", "/users/me").headers["X-Kong-Request-Id"]
    until(lambda: len(spans.trace(last)) == 2)
    seen += [("span", body.decode()) for body in spans.bodies]
    sinks = {where.split(" ")[0] for where, _ in seen}
    assert sinks == {"log", "metrics", "table", "collection", "redis", "dead", "mail", "event", "span"}
    assert any(leila.id in content for _, content in seen), "nothing was written"
    logs = {where.removeprefix("log ").partition(".")[0] for where, _ in seen if where.startswith("log ")}
    assert {
        *SERVERS,
        "consul",
        "supervisor",
        "supervisord",
        "gateway",
        *(f"{service}-web" for service in stack.backing.databases),
    } <= logs
    found = [
        f"{where}: {_around(content, canary)}" for where, content in seen for canary in CANARIES if canary in content
    ]
    assert not found, "\n".join(found[:20])


def _use_secrets(stack: Stack, leila: Person) -> None:
    """Use secrets where they belong."""
    name = uuid4().hex[:12]
    account = {
        "email": f"{name}@example.com",
        "username": name,
        "first_name": "A",
        "last_name": "B",
        "password": PASSWORD,
    }
    leila.call("POST", "/users/register", account, **{"Idempotency-Key": uuid4().hex})
    login = leila.call("POST", "/users/login", {"email": account["email"], "password": PASSWORD})
    leila.send("POST", "/users/login", {"email": account["email"], "password": PASSWORD + "x"})
    # The issued tokens are canaries too.
    renewed = leila.call("POST", "/users/token/refresh", {"refresh_token": login["refresh_token"]})
    given = [login["access_token"], login["refresh_token"], renewed["access_token"], renewed["refresh_token"]]
    leila.send("GET", "/users/me", Authorization=f"Bearer {renewed['access_token']}")
    logs = [log.read_text(errors="replace") for log in stack.state.logs.glob("*.log*")]
    tables = [rows for service, url in stack.backing.databases.items() for _, rows in _tables(service, url)]
    assert not [token for token in given for content in (*logs, *tables) if token in content]


def _try_wrong_passwords(stack: Stack) -> None:
    """At every server: each logs what it refuses."""
    wrong = {name: _with_password(stack.url(name), TOKEN) for name in SERVERS}
    with pytest.raises(OperationalError):
        create_engine(wrong["postgres"].replace("postgresql://", "postgresql+psycopg2://", 1)).connect()
    with pytest.raises(redis.RedisError), redis.Redis.from_url(wrong["redis"]) as client:
        client.ping()
    with pytest.raises((OSError, AMQPError)), broker.connect(wrong["rabbitmq"]) as connection:
        connection.connect()
    mongo = mongoengine.connection.MongoClient  # type: ignore[attr-defined]
    with pytest.raises(PyMongoError), mongo(wrong["mongo"], serverSelectionTimeoutMS=5_000) as client:
        client.admin.command("listDatabases")
    consul = f"http://127.0.0.1:{stack.installation.ports['consul']}/v1/agent/self"
    _pool.request("GET", f"{consul}?token={TOKEN}", headers={"X-Consul-Token": TOKEN})


def _with_password(url: str, password: str) -> str:
    parts = urlsplit(url)
    user = parts.username or "nobody"
    return parts._replace(netloc=f"{user}:{password}@{parts.hostname}:{parts.port}").geturl()


def _publish_a_bad_message(stack: Stack) -> None:
    """A message that no handler can process, without secrets, as a bug of its publisher would send it."""
    before = len(list(dead_letters(stack)))
    _publish(stack, {"user_id": "nobody"})
    until(lambda: len(list(dead_letters(stack))) > before)


def _publish(stack: Stack, data: dict[str, Any]) -> None:
    publisher = Publisher(stack.backing.broker)
    publisher.publish(Envelope(uuid4(), "tests", "user.registered", "nobody", datetime.now(UTC), data))
    publisher.close()


def test_the_error_of_a_dead_letter_does_not_contain_its_data(stack: Stack) -> None:
    secret = f"canary{uuid4().hex}token"
    _publish(stack, {"user_id": secret, "email": secret, "username": 1})
    letters = until(lambda: [letter for letter in dead_letters(stack) if secret in letter[2]])
    assert all("x-souk-error" in headers and secret not in headers for _, headers, _ in letters)
    logs = {log.name: log.read_text(errors="replace") for log in stack.state.logs.glob("*.log*")}
    assert "message is a dead letter" in "".join(logs.values())
    assert not [name for name, content in logs.items() if secret in content]


def _around(content: str, canary: str) -> str:
    at = content.index(canary)
    return json.dumps(content[max(0, at - 150) : at + len(canary) + 50])
