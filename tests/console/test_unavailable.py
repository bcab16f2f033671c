"""Every page, with each service and server down or confused: it shows the rest, or says in a sentence what is missing."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule

from launcher.stack import Stack
from services.console.api import SERVICES
from tests.console.test_upstreams import NOWHERE, console
from tests.installation import Person, catalogue_of

SERVERS = ("prometheus", "traces", "logs", "openapi")

MISSING = ("does not respond", "did not respond", "calls to it are suspended", "is overloaded", "is not JSON")


@pytest.fixture(scope="module")
def confused(serve: Callable[[Any], str]) -> Mapping[str, str]:
    """The URLs of what answers everything in the wrong way."""

    def answering(body: str, status: int, content_type: str) -> str:
        app = Flask("confused")
        app.register_error_handler(404, lambda _: (body, status, {"Content-Type": content_type}))
        return serve(app)

    unready = json.dumps({"type": "/problems/unavailable", "title": "Service unavailable", "status": 503})
    return {
        "down": NOWHERE,
        "unready": answering(unready, 503, "application/problem+json"),
        "garbled": answering("<html>It works!", 200, "text/html"),
    }


@pytest.fixture(scope="module")
def ids(stack: Stack) -> Mapping[str, str]:
    """For the placeholders of paths: things that exist."""
    customer, product = Person(stack.gateway_url).sign_up(), catalogue_of(stack)(5)
    order = customer.order(product)["id"]
    return {
        "order_id": order,
        "product_id": product,
        "user_id": customer.id,
        "request_id": str(uuid4()),
        "letter_id": str(uuid4()),
        "service": "orders",
        "name": "orders-stuck",
    }


def pages(client: FlaskClient, ids: Mapping[str, str]) -> Iterator[str]:
    """Paths of every page that is read, but streams and what is no page."""
    adapter = client.application.url_map.bind("")

    def is_page(rule: Rule) -> bool:
        view = client.application.view_functions[rule.endpoint]
        return "GET" in (rule.methods or ()) and hasattr(view, "allow") and not rule.endpoint.endswith("stream")

    for rule in client.application.url_map.iter_rules():
        if is_page(rule):
            values = {name: ids[name] for name in rule.arguments}
            yield adapter.build(rule.endpoint, values)


def settings_with(down: str, url: str) -> dict[str, Any]:
    if down in SERVICES:
        return {"down": down, "where": url}
    return {f"{down}_url": f"{url}/openapi.json" if down == "openapi" else url}


@pytest.mark.parametrize(
    "how", ["down", *(pytest.param(how, marks=pytest.mark.long) for how in ("unready", "garbled"))]
)
@pytest.mark.parametrize("down", [*SERVICES, *SERVERS])
def test_no_page_fails(
    stack: Stack, admin: Person, ids: Mapping[str, str], confused: Mapping[str, str], down: str, how: str
) -> None:
    with console(stack, admin, **settings_with(down, confused[how])) as client:
        shown = {path: client.get(path) for path in pages(client, ids)}
    assert len(shown) > 25
    for path, response in shown.items():
        assert response.status_code in (200, 302, 404, 502, 503), (path, response.status_code, response.text)
        if response.status_code >= 500:
            assert any(words in response.text for words in MISSING), (path, response.text)
    # Most pages need only some of them.
    assert sum(response.status_code == 200 for response in shown.values()) > 5
