"""The HTTP edge: one Resource per URL, one endpoint per method, one transaction per request.

An endpoint declares who may call it and what it answers; its annotations say what it takes (`body`, `query`). From that
come the checks, the transaction, the idempotency record and the OpenAPI document. A method without a declaration does
not start.
"""

import functools
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

import flask_restful
from flask import Flask, Response, json, request
from pydantic import BaseModel, ConfigDict, ValidationError
from spectree import Response as Documented
from spectree import SecurityScheme, SpecTree
from spectree.models import InType, SecureType, SecuritySchemeData
from structlog.contextvars import bind_contextvars

from chassis import auth, idempotency, store
from chassis.auth import Caller, Permission
from chassis.idempotency import Answer, Record
from chassis.problems import Invalid, Malformed, UnsupportedMedia
from chassis.schemas import Body, Query, View
from chassis.settings import Settings

__all__ = ["Body", "Query", "Resource", "View", "endpoint"]

F = TypeVar("F", bound=Callable[..., Any])
METHODS = ("get", "post", "put", "patch", "delete")


class ProblemView(BaseModel):
    """RFC 9457 problem details; `errors` names the fields where the request was invalid."""

    type: str
    title: str
    status: int
    detail: str = ""
    errors: list[dict[str, str]] = []


class IdempotencyHeader(BaseModel):
    model_config = ConfigDict(alias_generator=lambda _: idempotency.HEADER)

    key: str | None = None


class RequiredIdempotencyHeader(IdempotencyHeader):
    key: str


class Resource(flask_restful.Resource):
    """One URL. Its methods are endpoints."""


@dataclass(frozen=True)
class Declaration:
    """What an endpoint says of itself."""

    allow: Permission
    status: int
    location: str | None
    idempotency: Literal["none", "optional", "required", "own"]
    body: type[BaseModel] | None
    query: type[BaseModel] | None
    view: type[BaseModel] | None
    before: Callable[..., Any] | None

    FIELD: ClassVar[str] = "__endpoint__"


def endpoint(
    *,
    allow: Permission,
    status: int = 200,
    location: str | None = None,
    idempotency: Literal["none", "optional", "required", "own"] = "none",
    before: Callable[..., Any] | None = None,
) -> Callable[[F], F]:
    """Declare a Resource's method.

    `location` is the new thing's URL with fields of the answer in braces, e.g. "/orders/{id}". `before` is called with the
    method's arguments ahead of the transaction, for what is slow (a neighbour, a hash); the method gets its result as `prepared`.
    With "own" idempotency the method itself heeds the key: a store without transactions cannot keep the record beside the work.
    """

    def declare(function: F) -> F:
        hints = typing.get_type_hints(function)
        answer = hints.get("return")
        view = answer if isinstance(answer, type) and issubclass(answer, BaseModel) else None
        declaration = Declaration(
            allow, status, location, idempotency, hints.get("body"), hints.get("query"), view, before
        )
        setattr(function, Declaration.FIELD, declaration)
        return function

    return declare


class Api(flask_restful.Api):
    """Flask-RESTful, except that errors are ours: stock, it turns an exception with a Flask handler into a bare 500."""

    def error_router(self, original_handler: Callable[[Exception], Any], e: Exception) -> Any:
        return original_handler(e)


def mount(app: Flask, routes: dict[str, type[Resource]], settings: Settings, title: str) -> SpecTree:
    """Serve `routes` from `app`; gives the OpenAPI description. Raises TypeError for an undeclared method."""
    spec = SpecTree(
        "flask",
        mode="strict",
        annotations=False,
        title=title,
        version="1",
        validation_error_status=422,
        naming_strategy=lambda model: model.__name__,
        security_schemes=[
            SecurityScheme(name="user", data=SecuritySchemeData(type=SecureType.HTTP, scheme="bearer")),
            SecurityScheme(
                name="service",
                data=SecuritySchemeData(type=SecureType.API_KEY, name="X-API-Key", field_in=InType.HEADER),
            ),
        ],
    )
    api = Api(app, catch_all_404s=False)
    for url, resource in routes.items():
        methods = {method: getattr(resource, method) for method in METHODS if hasattr(resource, method)}
        edges = {name: _edge(spec, function, settings, url) for name, function in methods.items()}
        api.add_resource(type(resource.__name__, (resource,), edges), url, endpoint=f"{resource.__name__}:{url}")
    spec.register(app)
    return spec


def _edge(spec: SpecTree, function: Callable[..., Any], settings: Settings, url: str) -> Callable[..., Any]:
    declaration: Declaration | None = getattr(function, Declaration.FIELD, None)
    if declaration is None:
        raise TypeError(f"{function.__qualname__} ({url}) does not declare who may call it.")

    @functools.wraps(function)
    def edge(resource: Resource, **path: Any) -> Response:
        caller = auth.admit(
            declaration.allow, request.headers.get("Authorization"), request.headers.get("X-API-Key"), settings
        )
        bind_contextvars(work=f"{request.method} {url}")
        record = _idempotency_record(declaration, caller)
        arguments = {**path, **_arguments(declaration)}
        answer = None
        if declaration.before is not None:
            # A request sent again gets its answer whether or not it could be prepared today.
            answer = _known(record)
            if answer is None:
                arguments["prepared"] = declaration.before(**arguments)
        if answer is None:
            with store.transaction():
                answer = _answer(declaration, record, lambda: function(resource, **arguments))
        response = Response(answer.body, answer.status, answer.headers)
        if request.method == "GET":
            response.add_etag(weak=True)
            response.make_conditional(request)
        return response

    return _documented(spec, edge, declaration)


def _idempotency_record(declaration: Declaration, caller: Caller) -> Record | None:
    if declaration.idempotency in ("none", "own"):
        return None
    key = idempotency.checked(
        request.headers.get(idempotency.HEADER), is_required=declaration.idempotency == "required"
    )
    route = f"{request.method} {request.path.rstrip('/')}"
    return None if key is None else Record(str(caller.user_id or caller.service or ""), route, key, request.get_data())


def _known(record: Record | None) -> Answer | None:
    if record is None:
        return None
    with store.transaction():
        return record.known()


def _answer(declaration: Declaration, record: Record | None, run: Callable[[], Any]) -> Answer:
    if record is not None and (known := record.claim()):
        return known
    view = run()
    headers = {"Content-Type": "application/json"} if view is not None else {}
    if declaration.location is not None:
        headers["Location"] = declaration.location.format(**dict(view))
    if view is not None and (etag := view.etag()) is not None:
        headers["ETag"] = f'"{etag}"'
    body = view.model_dump_json().encode() if view is not None else b""
    answer = Answer(declaration.status, headers, body)
    if record is not None:
        record.keep(answer)
    return answer


def _arguments(declaration: Declaration) -> dict[str, Any]:
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


def _documented(spec: SpecTree, edge: Callable[..., Any], declaration: Declaration) -> Callable[..., Any]:
    """`edge` as SpecTree describes it. Validation is ours: SpecTree's takes what is no JSON for an empty object."""
    allow = declaration.allow
    answers: dict[str, Any] = {f"HTTP_{declaration.status}": declaration.view}
    refusals = [400, 404, 409, 422, 503] + ([] if allow.anyone else [401, 403])
    refusals += [413, 415] if declaration.body is not None else []
    answers.update({f"HTTP_{status}": ProblemView for status in refusals})
    headers = {"none": None, "required": RequiredIdempotencyHeader}
    schemes = (["user"] if allow.roles else []) + (["service"] if allow.services else [])
    return spec.validate(
        json=declaration.body,
        query=declaration.query,
        headers=headers.get(declaration.idempotency, IdempotencyHeader),
        resp=Documented(**answers),
        security={scheme: [] for scheme in schemes},
        skip_validation=True,
    )(edge)


def openapi(spec: SpecTree) -> Callable[[], Response]:
    """A view that serves the OpenAPI document."""

    def document() -> Response:
        return Response(json.dumps(spec.spec), content_type="application/json")

    return document
