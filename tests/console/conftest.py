import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask, request
from kombu import Connection

from chassis.messaging import broker
from chassis.messaging.envelope import Envelope
from contracts.users import UserDeleted
from launcher.stack import Stack
from services.console import figures
from services.console.api import SERVICES
from services.console.app import create_app
from services.console.settings import ConsoleSettings
from tests.console.visitor import Visitor
from tests.installation import PASSWORD, Person
from tests.operations import address, openapi_url

NewVisitor = Callable[[], Visitor]
LogIn = Callable[[Person], Visitor]


KEY = "A" * 43 + "="


@pytest.fixture(scope="session")
def served(stack: Stack, serve: Callable[[Any], str]) -> tuple[str, dict[str, Any]]:
    """Of a console in this process, on the installation's services: its address and settings."""
    found = {name: address(stack, name) for name in SERVICES}
    settings = {"session_keys": [KEY], "services": found, "discovery": "static", "openapi_url": openapi_url(stack)}
    return serve(create_app(ConsoleSettings.use(**settings))), settings


@pytest.fixture
def url(served: tuple[str, dict[str, Any]]) -> str:
    address, settings = served
    # Other tests have consoles of their own.
    ConsoleSettings.use(**settings)
    return address


@pytest.fixture
def visitor(url: str) -> Visitor:
    """Nobody that the shop knows."""
    return Visitor(url)


@pytest.fixture
def log_in(url: str) -> LogIn:
    """A function that logs a person in by the form."""

    def entered(person: Person) -> Visitor:
        visitor = Visitor(url)
        form = visitor.get("/account/login").form("/account/login")
        page = visitor.send(form, email=person.email, password=PASSWORD)
        assert (page.status, page.url) == (200, "/shop/")
        return visitor

    return entered


@pytest.fixture
def customer(visitor: Visitor) -> Visitor:
    """Registered by the form."""
    name = f"leila.{uuid4().hex[:10]}"
    form = visitor.get("/account/register").form("/account/register")
    page = visitor.send(
        form, email=f"{name}@example.com", username=name, first_name="Leila", last_name="Haddad", password=PASSWORD
    )
    assert page.status == 200, page.text
    return visitor


TRACE = uuid4().hex
SPANS = [
    {
        "traceID": TRACE,
        "spanID": id_,
        "operationName": name,
        "references": [{"refType": "CHILD_OF", "traceID": TRACE, "spanID": parent}] if parent else [],
        "startTime": 1795940765000000 + at,
        "duration": 4_000,
        "tags": [{"key": "error", "type": "bool", "value": True}] if parent else [],
        "processID": "p1",
    }
    for id_, parent, name, at in (("a", "", "POST orders-all", 0), ("b", "a", "<i>smtp</i> send", 1_000))
]
LINES = [
    {"_time": "2026-11-29T02:04:28.311Z", "_msg": "request", "program": "gateway", "level": "info", "trace_id": TRACE},
    {"_time": "2026-11-29T02:04:29.5Z", "_msg": "<b>refused</b>", "program": "orders-web", "level": "error"},
]


@pytest.fixture(scope="session")
def observers(serve: Callable[[Any], str]) -> str:
    """The URL of what responds as Jaeger 1.76 and VictoriaLogs 1.36 do, about any order."""
    app = Flask("observers")

    @app.get("/api/traces/<_>")
    def spans(_: str) -> Any:
        return {"data": [{"traceID": TRACE, "spans": SPANS, "processes": {"p1": {"serviceName": "gateway"}}}]}

    @app.get("/select/logsql/query")
    def lines() -> Any:
        return "".join(f"{json.dumps(line)}\n" for line in LINES)

    return serve(app)


@pytest.fixture(scope="session")
def prometheus(serve: Callable[[Any], str]) -> str:
    """The URL of one by which an alert fires and some figures are bad."""
    app = Flask("prometheus")
    found = {
        figures.FIRING: [({"alertname": "DeadLetters", "queue": "payments.dead"}, 3), ({"alertname": "Unknown"}, 1)],
        figures.NUMBERS["Dead letters"][0]: [({}, 1_234)],
        figures.NUMBERS["Messages in queues"][0]: [({}, 7)],
        figures.LISTS["Queues"][0]: [({"queue": "orders"}, 7)],
        figures.LISTS["Open circuit breakers"][0]: [({"program": "orders-web", "upstream": "products"}, 1)],
        figures.LISTS["Error budgets of 30 days"][0]: [({"slo": "EdgeErrors"}, 0.25), ({"slo": "MailsSlow"}, -0.5)],
    }

    @app.get("/api/v1/query")
    def query() -> Any:
        rows = found.get(request.args["query"], [])
        return {"data": {"result": [{"metric": labels, "value": [0, str(value)]} for labels, value in rows]}}

    return serve(app)


@pytest.fixture
def dead_letter(stack: Stack) -> str:
    """The id of a message that notifications has given up, whose cause is gone."""
    envelope = Envelope.of(UserDeleted(uuid4()), "users")
    key = broker.dead_letter_queue("notifications").name
    with Connection(stack.url("rabbitmq")) as connection:
        connection.Producer().publish(envelope.to_json(), exchange="", routing_key=key, delivery_mode=2)
    return str(envelope.id)
