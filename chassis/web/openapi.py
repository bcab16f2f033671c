"""A service's OpenAPI 3.1 document. `x-souk-allow`: who may call, see `Permission`."""

import re
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from flask import Response, json
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from chassis.storage.responses import HEADER
from chassis.web import idempotency
from chassis.web.endpoint import Endpoint

ALLOW = "x-souk-allow"

Endpoints = Mapping[tuple[str, str], Endpoint]
"""By lower-case method and Flask URL."""

_JSON = "application/json"
_PROBLEM = "application/problem+json"
_PARAMETER = re.compile(r"<(?:(\w+)(?:\([^)]*\))?:)?(\w+)>")
_SECURITY_SCHEMES = {
    "user": {"type": "http", "scheme": "bearer"},
    "service": {"type": "apiKey", "name": "X-API-Key", "in": "header"},
}


class FieldError(BaseModel):
    """`field`: dotted path into the body, query parameter or header."""

    field: str
    message: str


class ProblemView(BaseModel):
    """RFC 9457 problem details; `errors` names the invalid fields. A problem may have more members."""

    type: str
    title: str
    status: int
    detail: str = ""
    trace_id: str = ""
    """By which operators find this request in logs and traces."""

    errors: list[FieldError] = []
    more_errors: int = 0
    """Beyond the ten listed."""


def document(title: str, description: str, endpoints: Endpoints) -> dict[str, Any]:
    schemas = _Schemas(endpoints)
    paths: dict[str, dict[str, Any]] = {}
    for (method, url), endpoint in endpoints.items():
        path = _PARAMETER.sub(r"{\2}", url)
        paths.setdefault(path, {})[method] = _operation(method, url, endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "description": description, "version": "1"},
        "paths": paths,
        "components": {"schemas": schemas.components, "securitySchemes": _SECURITY_SCHEMES},
    }


def serve(content: Callable[[], dict[str, Any]]) -> Callable[[], Response]:
    return lambda: Response(json.dumps(content()), content_type=_JSON)


class _Schemas:
    def __init__(self, endpoints: Endpoints) -> None:
        requests = {model for each in endpoints.values() for model in (each.body, each.query) if model is not None}
        responses = {each.view for each in endpoints.values() if each.view is not None} | {ProblemView}
        models = [*((model, "validation") for model in requests), *((model, "serialization") for model in responses)]
        self._references, written = models_json_schema(
            sorted(models, key=lambda each: each[0].__name__),  # type: ignore[arg-type]
            ref_template="#/components/schemas/{model}",
        )
        self.components: dict[str, Any] = written["$defs"]

    def request(self, model: type[BaseModel]) -> dict[str, Any]:
        return self._references[model, "validation"]

    def response(self, model: type[BaseModel]) -> dict[str, Any]:
        return self._references[model, "serialization"]

    def query(self, model: type[BaseModel]) -> dict[str, Any]:
        return self.components[self.request(model)["$ref"].rpartition("/")[2]]


def _operation(method: str, url: str, endpoint: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    summary, _, description = endpoint.documentation.partition("\n\n")
    schemes = {"user": endpoint.allow.roles, "service": endpoint.allow.services}
    operation: dict[str, Any] = {
        "operationId": "_".join([method, *re.findall(r"\w+", _PARAMETER.sub(r"\2", url))]),
        "summary": " ".join(summary.split()),
        "description": description,
        "parameters": list(_parameters(url, endpoint, schemas)),
        "responses": _responses(method, url, endpoint, schemas),
        # Either scheme is enough.
        "security": [{scheme: []} for scheme, callers in schemes.items() if callers],
        ALLOW: endpoint.allow.described(),
    }
    if endpoint.body is not None:
        content = {"schema": schemas.request(endpoint.body), "example": getattr(endpoint.body, "example", {})}
        operation["requestBody"] = {"required": True, "content": {_JSON: content}}
    return operation


def _parameters(url: str, endpoint: Endpoint, schemas: _Schemas) -> Iterator[dict[str, Any]]:
    for kind, name in _PARAMETER.findall(url):
        schema = {"type": "string", "format": "uuid"} if kind == "uuid" else {"type": "string"}
        yield {"name": name, "in": "path", "required": True, "schema": schema}
    if endpoint.query is not None:
        model = schemas.query(endpoint.query)
        for name, schema in model.get("properties", {}).items():
            yield {"name": name, "in": "query", "required": name in model.get("required", []), "schema": schema}
    if endpoint.idempotency != "none":
        is_required = endpoint.idempotency == "required"
        yield {"name": HEADER, "in": "header", "required": is_required, "schema": idempotency.KEY_SCHEMA}


def _responses(method: str, url: str, endpoint: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    content: dict[int, dict[str, Any]] = {endpoint.status: {}}
    if endpoint.view is not None:
        kind = getattr(endpoint.view, "content_type", _JSON).partition(";")[0]
        schema = schemas.response(endpoint.view) if kind == _JSON else {"type": "string"}
        content[endpoint.status] = {kind: {"schema": schema}}
    if method == "get":
        content[304] = {}
    for status in endpoint.error_statuses(method, url):
        content[status] = {_PROBLEM: {"schema": schemas.response(ProblemView)}}
    return {str(status): _response(status, content[status]) for status in sorted(content)}


def _response(status: int, content: dict[str, Any]) -> dict[str, Any]:
    described = {"description": HTTPStatus(status).phrase}
    return {**described, "content": content} if content else described
