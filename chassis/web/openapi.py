"""The OpenAPI document of a service, made from what its endpoints declare.

Beside the standard members every operation says who may call it, for programs: `x-souk-allow` has `anyone`, the `roles` of
users, the names of `services`, and `owner`: true where users get only what is their own, and what is another's is a 404
to all but staff.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask, Response, json
from pydantic import BaseModel, ConfigDict, Field
from spectree import Response as Documented
from spectree import SecurityScheme, SpecTree
from spectree.models import InType, SecureType, SecuritySchemeData

from chassis.storage.responses import HEADER
from chassis.web import idempotency
from chassis.web.endpoint import Endpoint

ALLOW = "x-souk-allow"

_JSON = "application/json"
_PROBLEM = "application/problem+json"
_PARAMETER = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")


class FieldError(BaseModel):
    """`field` is a dotted path into the body, the name of a query parameter or of a header."""

    field: str
    message: str


class ProblemView(BaseModel):
    """RFC 9457 problem details; `errors` names the fields where the request was invalid. A problem may have more members."""

    type: str
    title: str
    status: int
    detail: str = ""
    errors: list[FieldError] = []


class IdempotencyHeader(BaseModel):
    model_config = ConfigDict(alias_generator=lambda _: HEADER)

    key: str | None = Field(None, min_length=1, max_length=idempotency.MAX_KEY_LENGTH, pattern="^[ -~]+$")


class RequiredIdempotencyHeader(IdempotencyHeader):
    key: str = Field(min_length=1, max_length=idempotency.MAX_KEY_LENGTH, pattern="^[ -~]+$")


_HEADERS = {"none": None, "required": RequiredIdempotencyHeader}


def new(title: str) -> SpecTree:
    return SpecTree(
        "flask",
        mode="strict",
        annotations=False,
        title=title,
        version="1",
        validation_error_model=ProblemView,
        naming_strategy=lambda model: model.__name__,
        security_schemes=[
            SecurityScheme(name="user", data=SecuritySchemeData(type=SecureType.HTTP, scheme="bearer")),
            SecurityScheme(
                name="service",
                data=SecuritySchemeData(type=SecureType.API_KEY, name="X-API-Key", field_in=InType.HEADER),
            ),
        ],
    )


def described(
    spec: SpecTree, edge: Callable[..., Any], declaration: Endpoint, method: str, url: str
) -> Callable[..., Any]:
    """`edge` as SpecTree describes it. Validation is ours: SpecTree's takes what is no JSON for an empty object."""
    allow = declaration.allow
    answers: dict[str, Any] = {f"HTTP_{declaration.status}": declaration.view}
    if method == "get":
        answers["HTTP_304"] = None
    answers.update({f"HTTP_{status}": ProblemView for status in declaration.refusals(method, url)})
    schemes = (["user"] if allow.roles else []) + (["service"] if allow.services else [])
    return spec.validate(
        json=declaration.body,
        query=declaration.query,
        headers=_HEADERS.get(declaration.idempotency, IdempotencyHeader),
        resp=Documented(**answers),
        # Each is enough by itself.
        security=[{scheme: []} for scheme in schemes],
        skip_validation=True,
    )(edge)


def document(app: Flask, spec: SpecTree, declared: Mapping[tuple[str, str], Endpoint]) -> dict[str, Any]:
    """What SpecTree wrote, with what it has no word for. `declared` is by method and URL as Flask writes it."""
    with app.app_context():
        written: dict[str, Any] = json.loads(json.dumps(spec.spec))
    for (method, url), declaration in declared.items():
        operation = written["paths"][_PARAMETER.sub(r"{\1}", url)][method]
        operation[ALLOW] = declaration.allow.described()
        kind = getattr(declaration.view, "content_type", _JSON).partition(";")[0]
        if kind != _JSON:
            operation["responses"][str(declaration.status)]["content"] = {kind: {"schema": {"type": "string"}}}
        refusals = declaration.refusals(method, url)
        if 422 not in refusals:  # SpecTree's own idea
            operation["responses"].pop("422", None)
        for status in refusals:
            content = operation["responses"][str(status)]["content"]
            content[_PROBLEM] = content.pop("application/json")
    return written


def serve(content: Callable[[], dict[str, Any]]) -> Callable[[], Response]:
    """A view that answers with the document, which is written when it is first asked for."""
    return lambda: Response(json.dumps(content()), content_type="application/json")
