"""What must stay secret, brought in by every door of the platform, is then looked for wherever something is written down."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
import urllib3
from sqlalchemy import create_engine, text

from launcher.stack import Stack
from tests.installation import Person

PASSWORD = f"Canary-{uuid4().hex}-password"
TOKEN = f"canary{uuid4().hex}token"
CARD = "4929939187355598"
"""A number that the cards' own checksum takes for one."""

CANARIES = (PASSWORD, TOKEN, CARD)
SPEAK_OF_THEMSELVES = ("-web", "-worker", "-celery", "-admin")
METHODS = ("get", "post", "put", "patch", "delete")

SECRET_FIELDS = {"password": PASSWORD, "current_password": PASSWORD, "new_password": PASSWORD, "token": TOKEN}
SECRET_FIELDS |= {"refresh_token": TOKEN, "payment_method": CARD, "card": CARD, "card_number": CARD}

_pool = urllib3.PoolManager(maxsize=8, timeout=30, retries=False)


def doors(stack: Stack) -> Iterator[tuple[str, str]]:
    """Method and path of every operation at the edge."""
    document = _pool.request("GET", f"{stack.gateway_url}/openapi.json").json()
    for path, operations in document["paths"].items():
        for method in METHODS:
            if method in operations:
                yield method.upper(), path.replace("{", "").replace("}", "")


def bring_in(stack: Stack, person: Person, method: str, path: str) -> None:
    """The canaries in every place of a request that a client can fill: fields of the body, query, path and headers."""
    key = {"Idempotency-Key": uuid4().hex}
    bodies: list[Any] = [SECRET_FIELDS, {"nonsense": PASSWORD}, PASSWORD, [CARD, TOKEN]]
    for body in bodies:
        person.send(method, path, body, **key)
    person.send(method, f"{path}?token={TOKEN}&card={CARD}&password={quote(PASSWORD)}", {}, **key)
    person.send(method, f"{path}/{CARD}", {}, **key)
    person.send(method, path, {}, Authorization=f"Bearer {TOKEN}", **key)
    person.send(method, path, {}, **{"X-API-Key": TOKEN, "Cookie": f"session={TOKEN}", "Idempotency-Key": CARD})


def written(stack: Stack) -> Iterator[tuple[str, str]]:
    """Where something is written down, and what: logs, metrics, messages of every kind, dead letters."""
    for log in stack.state.logs.glob("*.log*"):
        yield f"log {log.name}", log.read_text(errors="replace")
    ports = {name: port for name, port in stack.installation.ports.items() if name.endswith(SPEAK_OF_THEMSELVES)}
    for name, port in ports.items():
        url = f"http://127.0.0.1:{port}/metrics"
        yield f"metrics of {name}", _pool.request("GET", url).data.decode()
    for service, url in stack.backing.databases.items():
        engine = create_engine(url.replace("postgresql://", "postgresql+psycopg2://", 1))
        with engine.connect() as connection:
            tables = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).scalars()
            for table in list(tables):
                rows = connection.execute(text(f'SELECT row_to_json(t)::text FROM "{table}" t')).scalars()
                yield f"table {table} of {service}", "\n".join(rows)
        engine.dispose()


@pytest.mark.timeout(600)
def test_no_secret_is_written_down_anywhere(stack: Stack, person: Any) -> None:
    leila = person()
    account = {
        "email": f"{uuid4().hex[:12]}@example.com",
        "username": uuid4().hex[:12],
        "first_name": "A",
        "last_name": "B",
    }
    # The ways on which a secret is what it should be, all through the platform.
    leila.ask("POST", "/users/register", {**account, "password": PASSWORD}, **{"Idempotency-Key": uuid4().hex})
    leila.ask("POST", "/users/login", {"email": account["email"], "password": PASSWORD})
    leila.send("POST", "/users/login", {"email": account["email"], "password": PASSWORD + "x"})
    for method, path in doors(stack):
        bring_in(stack, leila, method, path)
    seen = dict(written(stack))
    assert any(leila.id in content for content in seen.values()), "nothing was written at all"
    found = [
        f"{where}: {_around(content, canary)}"
        for where, content in seen.items()
        for canary in CANARIES
        if canary in content
    ]
    assert not found, "\n".join(found[:20])


def _around(content: str, canary: str) -> str:
    at = content.index(canary)
    return json.dumps(content[max(0, at - 150) : at + len(canary) + 50])
