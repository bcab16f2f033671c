"""One Resource per URL, one endpoint per method, one transaction per request."""

import functools
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import flask_restful
from flask import Flask, Response, request
from pydantic import BaseModel, ValidationError
from structlog.contextvars import bind_contextvars

from chassis.base import deadline, disk, validation
from chassis.base.problems import Invalid, Malformed, Problem, UnsupportedMedia
from chassis.base.settings import Settings
from chassis.security import auth
from chassis.security.auth import Caller
from chassis.storage import store
from chassis.storage.responses import HEADER, StoredResponse
from chassis.web import idempotency, json_text, openapi
from chassis.web.endpoint import Endpoint, endpoint
from chassis.web.preconditions import weak_etag
from chassis.web.schemas import Body, Query, Rendered, View

if TYPE_CHECKING:
    from chassis.storage.idempotency_keys import Record

__all__ = ["Body", "Query", "Resource", "View", "endpoint"]

_CONTROL = re.compile("[\\x00-\\x1f\\x7f-\\x9f]")

METHODS = ("get", "post", "put", "patch", "delete")
_READS = ("GET", "HEAD")


class Resource(flask_restful.Resource):
    """Its methods are endpoints."""


class Api(flask_restful.Api):
    """Leaves errors to Flask's handlers."""

    def error_router(self, original_handler: Callable[[Exception], Any], e: Exception) -> Any:
        return original_handler(e)


def mount(
    app: Flask, routes: Mapping[str, type[Resource]], settings: Settings, title: str, description: str
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
    return functools.cache(lambda: openapi.document(title, description, endpoints))


def _edge(function: Callable[..., Any], endpoint: Endpoint, settings: Settings, url: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def edge(resource: Resource, **path: Any) -> Response:
        deadline.check()
        # `request` is a proxy, slow to ask again and again.
        environ = request.environ
        method = environ["REQUEST_METHOD"]
        caller = auth.admit(endpoint.allow, environ.get("HTTP_AUTHORIZATION"), environ.get("HTTP_X_API_KEY"), settings)
        bind_contextvars(work=f"{method} {url}")
        if method not in _READS:
            disk.ensure_space(settings)
            _expect_uncompressed()
        record = _idempotency_record(endpoint, caller)
        arguments = {**path, **_arguments(endpoint)}

        def run() -> StoredResponse | Response:
            return _run(endpoint, record, lambda: function(resource, **arguments))

        def work() -> StoredResponse | Response:
            if endpoint.before is not None:
                arguments["prepared"] = endpoint.before(**arguments)
            deadline.check()
            if endpoint.may_be_stale and method in _READS:
                return store.current().read(_name(caller), run)
            with store.transaction():
                return run()

        result = work() if record is None else _once(record, work)
        if method not in _READS:
            store.current().note_write(_name(caller))
        if isinstance(result, Response):
            return result
        return _read(result) if method in _READS else Response(result.body, result.status, result.headers)

    return edge


def _read(result: StoredResponse) -> Response:
    if "ETag" not in result.headers:
        result.headers["ETag"] = weak_etag(result.body)
    response = Response(result.body, result.status, result.headers)
    if "HTTP_IF_NONE_MATCH" in request.environ:
        response.make_conditional(request)
    return response


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
    return Record(_name(caller), route, key, request.get_data())


def _name(caller: Caller) -> str:
    """Empty for an anonymous one."""
    return str(caller.user_id or caller.service or "")


def _once(record: "Record", work: Callable[[], StoredResponse | Response]) -> StoredResponse | Response:
    """The first response to this key, maybe a concurrent request's."""
    if stored := _find(record):
        return stored
    try:
        return work()
    except Problem:
        # That request may be the reason.
        if stored := _find(record):
            return stored
        raise


def _find(record: "Record") -> StoredResponse | None:
    with store.transaction():
        return record.find()


def _run(endpoint: Endpoint, record: "Record | None", call: Callable[[], Any]) -> StoredResponse | Response:
    """Does not store a Response."""
    view = call()
    if endpoint.allow.owner and not auth.has_checked_ownership():
        raise RuntimeError("This route is for owners, but its endpoint has not checked ownership.")
    if isinstance(view, Response):
        return view
    headers, body = {}, b""
    if view is not None:
        rendered = view if isinstance(view, Rendered) else Rendered.of(view)
        headers, body = rendered.headers, rendered.body
    if endpoint.location is not None:
        headers["Location"] = endpoint.location.format(**dict(view))
    response = StoredResponse(endpoint.status, headers, body)
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
