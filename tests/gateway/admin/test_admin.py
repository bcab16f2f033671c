"""The admin port, and the documentation that the edge exposes."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from services.gateway.admin.app import create_admin
from tests.gateway.conftest import InThread
from tests.gateway.upstream import Client, Response, Upstream, running

FILE = """
services:
  - {name: shop, host: shop, routes: [{methods: [GET, POST], paths: ["~/items/[^/]+$", "~/items/?$"]}]}
"""

SHOP: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Sales", "description": "What is sold."},
    "paths": {
        "/items/": {"get": {"operationId": "list", "responses": {}}, "delete": {"responses": {}}},
        "/items/{item_id}": {
            "parameters": [{"name": "item_id", "in": "path"}],
            "get": {"security": [{"token": []}], "schema": {"$ref": "#/components/schemas/Item"}},
        },
        "/internal/stock": {"post": {"responses": {}}},
    },
    "components": {
        "schemas": {
            "Item": {"properties": {"parts": {"items": {"$ref": "#/components/schemas/Item"}}}},
            "Pet": {"discriminator": {"mapping": {"cat": "#/components/schemas/Item"}}},
        },
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
    },
}


@pytest.fixture
def client(edge: InThread) -> Client:
    return edge.load(FILE)


@pytest.fixture
def admin(edge: InThread, client: Client) -> FlaskClient:
    return create_admin(edge.runtime, {}).test_client()


@pytest.fixture
def shop() -> Iterator[Upstream]:
    with running(Upstream()) as upstream:
        yield upstream


def test_status_has_kongs_shape(edge: InThread, client: Client, admin: FlaskClient) -> None:
    before = edge.gateway.total_requests
    client.get("/nowhere")
    status = admin.get("/status").json
    assert status is not None
    assert status["server"]["total_requests"] == before + 1
    assert status["configuration_hash"] == edge.gateway.edge.configuration.hash
    assert set(status["memory"]) == {"workers_lua_vms", "lua_shared_dicts"}


def test_metrics_are_prometheus_text(admin: FlaskClient) -> None:
    reply = admin.get("/metrics")
    assert reply.content_type.startswith("text/plain")
    assert b"kong_http_requests" in reply.data


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_health_endpoints_report_ok(admin: FlaskClient, path: str) -> None:
    assert admin.get(path).status_code == 200


def test_the_documents_of_all_services_are_joined(shop: Upstream, edge: InThread, client: Client) -> None:
    shop.responses = [Response(body=json.dumps(SHOP).encode())]
    admin = create_admin(edge.runtime, {"shop": f"http://{shop.address}/"}).test_client()
    joined = admin.get("/openapi.json").json
    assert joined is not None
    assert joined["openapi"] == "3.1.0"
    assert joined["servers"] == [{"url": "/"}]
    assert joined["tags"] == [{"name": "Sales", "description": "What is sold."}]
    assert joined["paths"] == {
        "/items/": {"get": {"operationId": "shop.list", "responses": {}, "tags": ["Sales"]}},
        "/items/{item_id}": {
            "parameters": [{"name": "item_id", "in": "path"}],
            "get": {
                "security": [{"token": []}],
                "schema": {"$ref": "#/components/schemas/shop.Item"},
                "tags": ["Sales"],
            },
        },
    }
    assert set(joined["components"]["schemas"]) == {"shop.Item", "shop.Pet"}
    pet = joined["components"]["schemas"]["shop.Pet"]
    assert pet["discriminator"]["mapping"] == {"cat": "#/components/schemas/shop.Item"}
    assert set(joined["components"]["securitySchemes"]) == {"token"}
    assert shop.last.target == "/openapi.json"


def test_the_document_is_fetched_once_for_many(shop: Upstream, edge: InThread, client: Client) -> None:
    shop.responses = [Response(body=json.dumps(SHOP).encode())]
    admin = create_admin(edge.runtime, {"shop": f"http://{shop.address}"}).test_client()
    for _ in range(3):
        admin.get("/openapi.json")
    assert len(shop.seen) == 1


@pytest.mark.parametrize(
    "response", [Response(404), Response(body=b"no JSON"), Response(body=b"[]"), Response(hang_up=True)]
)
def test_a_service_without_a_document_is_left_out(
    shop: Upstream, edge: InThread, client: Client, response: Response
) -> None:
    shop.responses = [response]
    admin = create_admin(edge.runtime, {"shop": f"http://{shop.address}"}).test_client()
    reply = admin.get("/openapi.json")
    assert (reply.status_code, (reply.json or {})["paths"]) == (200, {})
