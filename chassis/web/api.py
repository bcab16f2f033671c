"""One Resource per URL, one endpoint per method, one transaction per request."""

import functools
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import flask_restful
from flask import Flask, Response, request
from pydantic import BaseModel, ValidationError
from structlog.contextvars import bind_contextvars

from chassis.base import deadline, validation
from chassis.base.problems import Invalid, Malformed, UnsupportedMedia
from chassis.base.settings import Settings
from chassis.security import auth
from chassis.security.auth import Caller
from chassis.storage import store
from chassis.storage.responses import HEADER, StoredResponse
from chassis.web import idempotency, json_text, openapi
from chassis.web.endpoint import Endpoint, endpoint
from chassis.web.schemas import Body, Query, View

if TYPE_CHECKING:
    from chassis.storage.idempotency_keys import Record

__all__ = ["Body", "Query", "Resource", "View", "endpoint"]

_CONTROL = re.compile("[\\x00-\\x1f\\x7f-\\x9f]")

METHODS = ("get", "post", "put", "patch", "delete")


class Resource(flask_restful.Resource):
    """Its methods are endpoints."""


class Api(flask_restful.Api):
    """Leaves errors to Flask's handlers."""

    def error_router(self, original_handler: Callable[[Exception], Any], e: Exception) -> Any:
        return original_handler(e)


def mount(
    app: Flask, routes: Mapping[str, type[Resource]], settings: Settings, title: str
) -> Callable[[], dict[str, Any]]:
    """Returns the OpenAPI document's writer. Raises TypeError, see `Endpoint.of`."""
    api = Api(app, catch_all_404s=False)
    endpoints: dict[tuple[str, str], Endpoint] = {}
    for url, resource in routes.items():
        edges = {}
        for method in METHODS:
            if function := getattr(resource, method, None):
                endpoints[method, url] = Endpoint.of(function, url)
                edges[method] = _edge(function, endpoints[method, url], settings, url)
        api.add_resource(type(resource.__name__, (resource,), edges), url, endpoint=f"{resource.__name__}:{url}")
    return functools.cache(lambda: openapi.document(title, endpoints))


def _edge(function: Callable[..., Any], endpoint: Endpoint, settings: Settings, url: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def edge(resource: Resource, **path: Any) -> Response:
        deadline.check()
        credentials = request.headers.get("Authorization"), request.headers.get("X-API-Key")
        caller = auth.admit(endpoint.allow, *credentials, settings)
        bind_contextvars(work=f"{request.method} {url}")
        if request.method != "GET":
            _expect_uncompressed()
        record = _idempotency_record(endpoint, caller)
        arguments = {**path, **_arguments(endpoint)}
        result: StoredResponse | Response | None = None
        if endpoint.before is not None:
            # A repeated request gets its response even if `before` would now fail.
            result = _find(record)
            if result is None:
                arguments["prepared"] = endpoint.before(**arguments)
        if result is None:
            deadline.check()
            with store.transaction():
                result = _run(endpoint, record, lambda: function(resource, **arguments))
        if isinstance(result, Response):
            return result
        response = Response(result.body, result.status, result.headers)
        if request.method == "GET":
            response.add_etag(weak=True)
            response.make_conditional(request)
        return response

    return edge


def _expect_uncompressed() -> None:
    """Kilobytes may become gigabytes."""
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise UnsupportedMedia("Send the body uncompressed.", {"Accept-Encoding": "identity"})


def _idempotency_record(endpoint: Endpoint, caller: Caller) -> "Record | None":
    if endpoint.idempotency in ("none", "own"):
        return None
    key = idempotency.checked(request.headers.get(HEADER), is_required=endpoint.idempotency == "required")
    if key is None:
        return None
    from chassis.storage.idempotency_keys import Record

    route = f"{request.method} {request.path.rstrip('/')}"
    return Record(str(caller.user_id or caller.service or ""), route, key, request.get_data())


def _find(record: "Record | None") -> StoredResponse | None:
    if record is None:
        return None
    with store.transaction():
        return record.find()


def _run(endpoint: Endpoint, record: "Record | None", call: Callable[[], Any]) -> StoredResponse | Response:
    """Does not store a Response."""
    if record is not None and (stored := record.claim()):
        return stored
    view = call()
    if endpoint.allow.owner and not auth.has_checked_ownership():
        raise RuntimeError("This route is for owners, but its endpoint has not checked ownership.")
    if isinstance(view, Response):
        return view
    headers = {"Content-Type": view.content_type} if view is not None else {}
    if endpoint.location is not None:
        headers["Location"] = endpoint.location.format(**dict(view))
    if view is not None and (etag := view.etag()) is not None:
        headers["ETag"] = f'"{etag}"'
    response = StoredResponse(endpoint.status, headers, view.content() if view is not None else b"")
    if record is not None:
        record.save(response)
    return response


def _arguments(endpoint: Endpoint) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    if endpoint.query is not None:
        arguments["query"] = _validated(lambda model: model.model_validate(_query()), endpoint.query)
    if endpoint.body is not None:
        if request.mimetype != "application/json":
            raise UnsupportedMedia("Send the body as application/json.")
        raw = request.get_data()
        json_text.check(raw)
        arguments["body"] = _validated(lambda model: model.model_validate_json(raw), endpoint.body)
    return arguments


def _query() -> dict[str, str]:
    errors = []
    for name, values in request.args.lists():
        if len(values) > 1:
            errors.append((validation.shortened(name), "must not be repeated"))
        elif _CONTROL.search(values[0]):
            errors.append((validation.shortened(name), "must not contain control characters"))
    if errors:
        raise Invalid.fields(*errors)
    return request.args.to_dict()


def _validated(parse: Callable[[type[BaseModel]], BaseModel], model: type[BaseModel]) -> BaseModel:
    try:
        return parse(model)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        if details[0]["type"] == "json_invalid":
            raise Malformed(f"The body is not valid JSON: {details[0]['ctx']['error']}.") from None
        errors = [(validation.field(each) or "body", validation.message(each)) for each in details]
        raise Invalid.fields(*errors) from None
