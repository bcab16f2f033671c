"""The HTTP edge: one Resource per URL, one endpoint per method, one transaction per request.

An endpoint declares who may call it and what it answers; its annotations say what it takes (`body`, `query`). From that
come the checks, the transaction, the idempotency record and the OpenAPI document. A method without a declaration does
not start.
"""

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import flask_restful
from flask import Flask, Response, json, request
from pydantic import BaseModel, ValidationError
from structlog.contextvars import bind_contextvars

from chassis.base import deadline
from chassis.base.problems import Invalid, Malformed, UnsupportedMedia
from chassis.base.settings import Settings
from chassis.security import auth
from chassis.security.auth import Caller
from chassis.storage import store
from chassis.storage.responses import HEADER, StoredResponse
from chassis.web import idempotency, openapi
from chassis.web.endpoint import Endpoint, endpoint
from chassis.web.schemas import Body, Query, View

if TYPE_CHECKING:
    from chassis.storage.idempotency_keys import Record

__all__ = ["Body", "Query", "Resource", "View", "endpoint"]

METHODS = ("get", "post", "put", "patch", "delete")


class Resource(flask_restful.Resource):
    """One URL. Its methods are endpoints."""


class Api(flask_restful.Api):
    """Flask-RESTful, except that errors are ours: stock, it turns an exception with a Flask handler into a bare 500."""

    def error_router(self, original_handler: Callable[[Exception], Any], e: Exception) -> Any:
        return original_handler(e)


def mount(
    app: Flask, routes: Mapping[str, type[Resource]], settings: Settings, title: str
) -> Callable[[], dict[str, Any]]:
    """Serve `routes` from `app`; gives what writes their OpenAPI document. Raises TypeError for an undeclared method."""
    api = Api(app, catch_all_404s=False)
    declared: dict[tuple[str, str], Endpoint] = {}
    for url, resource in routes.items():
        edges = {}
        for method in METHODS:
            if hasattr(resource, method):
                function = getattr(resource, method)
                declaration = declared[method, url] = Endpoint.of(function, url)
                edges[method] = _edge(function, declaration, settings, url)
        api.add_resource(type(resource.__name__, (resource,), edges), url, endpoint=f"{resource.__name__}:{url}")
    return functools.cache(lambda: openapi.document(title, declared))


def _edge(function: Callable[..., Any], declaration: Endpoint, settings: Settings, url: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def edge(resource: Resource, **path: Any) -> Response:
        deadline.check()
        caller = auth.admit(
            declaration.allow, request.headers.get("Authorization"), request.headers.get("X-API-Key"), settings
        )
        bind_contextvars(work=f"{request.method} {url}")
        record = _idempotency_record(declaration, caller)
        arguments = {**path, **_arguments(declaration)}
        answer: StoredResponse | Response | None = None
        if declaration.before is not None:
            # A request sent again gets its answer whether or not it could be prepared today.
            answer = _known(record)
            if answer is None:
                arguments["prepared"] = declaration.before(**arguments)
        if answer is None:
            deadline.check()
            with store.transaction():
                answer = _answer(declaration, record, lambda: function(resource, **arguments))
        if isinstance(answer, Response):
            return answer
        response = Response(answer.body, answer.status, answer.headers)
        if request.method == "GET":
            response.add_etag(weak=True)
            response.make_conditional(request)
        return response

    return edge


def _idempotency_record(declaration: Endpoint, caller: Caller) -> "Record | None":
    if declaration.idempotency in ("none", "own"):
        return None
    key = idempotency.checked(request.headers.get(HEADER), is_required=declaration.idempotency == "required")
    if key is None:
        return None
    from chassis.storage.idempotency_keys import Record

    route = f"{request.method} {request.path.rstrip('/')}"
    return Record(str(caller.user_id or caller.service or ""), route, key, request.get_data())


def _known(record: "Record | None") -> StoredResponse | None:
    if record is None:
        return None
    with store.transaction():
        return record.find()


def _answer(declaration: Endpoint, record: "Record | None", run: Callable[[], Any]) -> StoredResponse | Response:
    """A handler that answers in another form than JSON gives the whole response itself."""
    if record is not None and (known := record.claim()):
        return known
    view = run()
    if declaration.allow.owner and not auth.has_checked_ownership():
        raise RuntimeError("This route is for owners, and nothing asked whose it is that was shown or changed.")
    if isinstance(view, Response):
        return view
    headers = {"Content-Type": view.content_type} if view is not None else {}
    if declaration.location is not None:
        headers["Location"] = declaration.location.format(**dict(view))
    if view is not None and (etag := view.etag()) is not None:
        headers["ETag"] = f'"{etag}"'
    body = view.content() if view is not None else b""
    answer = StoredResponse(declaration.status, headers, body)
    if record is not None:
        record.save(answer)
    return answer


def _arguments(declaration: Endpoint) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    if declaration.query is not None:
        arguments["query"] = _checked(lambda model: model.model_validate(_query()), declaration.query)
    if declaration.body is not None:
        if request.mimetype != "application/json":
            raise UnsupportedMedia("Send the body as application/json.")
        raw = request.get_data()
        if b"\\u0000" in raw and _has_nul(raw):
            raise _invalid([("", "must not contain NUL characters")])
        arguments["body"] = _checked(lambda model: model.model_validate_json(raw), declaration.body)
    return arguments


def _has_nul(raw: bytes) -> bool:
    """Whether a text in the JSON holds a NUL, which no database column takes. What is no JSON is refused elsewhere."""
    try:
        todo = [json.loads(raw)]
    except (ValueError, RecursionError):
        return False
    for value in todo:
        if isinstance(value, str) and "\0" in value:
            return True
        todo += value if isinstance(value, list) else [*value, *value.values()] if isinstance(value, dict) else []
    return False


def _query() -> dict[str, str]:
    query = request.args.to_dict()
    for name, value in query.items():
        if "\0" in value:
            raise _invalid([(name, "must not contain NUL characters")])
    return query


def _checked(parse: Callable[[type[BaseModel]], BaseModel], model: type[BaseModel]) -> BaseModel:
    try:
        return parse(model)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        if details[0]["type"] == "json_invalid":
            raise Malformed(f"The body is not JSON: {details[0]['msg']}.") from None
        raise _invalid([(".".join(map(str, wrong["loc"])), wrong["msg"]) for wrong in details]) from None


def _invalid(errors: list[tuple[str, str]]) -> Invalid:
    listed = [{"field": field or "body", "message": message} for field, message in errors]
    return Invalid("; ".join(f"{wrong['field']}: {wrong['message']}" for wrong in listed), errors=listed)
