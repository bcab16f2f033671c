"""The API, grouped by what a shop does: each operation with an example to send, as the person who is logged in."""

import json
import secrets
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

from flask import abort, render_template, request, session

from chassis.base.problems import Problem, Unavailable
from services.console import api, person
from services.console.cache import cached
from services.console.pages import Pages
from services.console.settings import ConsoleSettings

pages = Pages("docs", __name__, url_prefix="/docs")

CACHE_SECONDS = 5.0
TIMEOUT_SECONDS = 4.0
MAX_SHOWN_CHARACTERS = 20_000

METHODS = ("get", "post", "put", "delete")

ERRORS = {
    400: "The request is malformed: JSON that cannot be read, a header that is missing.",
    401: "Log in first. The token is missing, wrong, or has ended: exchange the refresh token, or log in again.",
    403: "You are logged in, and your role does not allow this.",
    404: "It does not exist, or is not yours.",
    409: "Its current state forbids this; the detail says why.",
    412: "It has changed since the version named by If-Match: read it again first.",
    413: "The body is too large.",
    415: "Send JSON, with Content-Type: application/json.",
    422: "Fields are invalid: errors names each one, with what is wrong.",
    429: "Too many requests: wait for as long as Retry-After says.",
    502: "A service behind this one gave no valid response.",
    503: "A service or server is down: try again after Retry-After, with the same Idempotency-Key.",
    504: "It took too long, and may have been done: try again with the same Idempotency-Key.",
}


@dataclass(frozen=True)
class Operation:
    id: str
    service: str
    tag: str
    method: str
    path: str
    content: Mapping[str, Any]

    @property
    def who(self) -> str:
        allow = self.content.get("x-souk-allow", {})
        if allow.get("anyone"):
            return "Anyone"
        roles = set(allow.get("roles", []))
        staff = "Admins" if roles == {"admin"} else "Staff" if "customer" not in roles else ""
        return staff or ("The owner, and staff" if allow.get("owner") else "Who is logged in")

    @property
    def parameters(self) -> list[Mapping[str, Any]]:
        return list(self.content.get("parameters", []))

    @property
    def statuses(self) -> list[str]:
        return list(self.content.get("responses", {}))

    @property
    def example(self) -> Any:
        content = self.content.get("requestBody", {}).get("content", {})
        return content.get("application/json", {}).get("example")


@cached(CACHE_SECONDS)
def _document() -> dict[str, Any] | None:
    """What the edge serves; None when it does not respond."""
    try:
        with urllib.request.urlopen(  # noqa: S310 - the operator's setting
            ConsoleSettings.current().openapi_url, timeout=TIMEOUT_SECONDS
        ) as response:
            found: dict[str, Any] = json.load(response)
            return found
    except (OSError, HTTPException, ValueError):
        return None


@pages.page("/", allow="anyone")
def index() -> str:
    return render_template("docs/index.html", groups=_groups(), errors=ERRORS)


@pages.page("/<service>", allow="anyone")
def group(service: str) -> str:
    return _group_page(service)


@pages.page("/<service>", allow="anyone", methods=("POST",))
def send(service: str) -> Any:
    """Sends a request as the person, and shows what came back."""
    chosen = [each for each in _operations(service) if each.id == request.form.get("operation")]
    if not chosen:
        abort(404)
    return _group_page(service, chosen[0], _sent(chosen[0]))


def _group_page(service: str, sent: Operation | None = None, result: dict[str, Any] | None = None) -> str:
    operations = _operations(service)
    if not operations:
        abort(404)
    return render_template(
        "docs/group.html",
        groups=_groups(),
        operations=operations,
        known=_known() if person.current() else {},
        filled=_filled,
        sent=sent,
        result=result,
        errors=ERRORS,
        form=request.form,
        new_key=lambda: str(uuid4()),
    )


def _sent(operation: Operation) -> dict[str, Any]:
    """Status, headers and body, to show."""
    given = {name: value.strip() for name, value in request.form.items()}
    path = operation.path
    query, headers = {}, {}
    for each in operation.parameters:
        value = given.get(f"{each['in']}.{each['name']}", "")
        if each["in"] == "path":
            path = path.replace("{" + each["name"] + "}", quote(value or "-", safe=""))
        elif value and each["in"] == "query":
            query[each["name"]] = value
        elif value:
            headers[each["name"]] = api.from_form(value)
    if version := given.get("if_match"):
        headers["If-Match"] = api.from_form(version)
    body = given.get("body", "").encode() or None
    if body is not None:
        headers["Content-Type"] = "application/json"
    target = f"{path}?{urlencode(query)}" if query else path
    line = f"{operation.method.upper()} {target}"
    try:
        response = api.exchange(operation.method.upper(), target, body, headers)
    except Problem as problem:
        return {"line": line, "status": problem.status, "headers": {}, "body": _pretty(json.dumps(problem.body()))}
    if operation.path == "/users/register" and response.status == 201:
        # For the example of a login.
        session["docs_email"] = json.loads(response.data)["email"]
    kept = {name: response.headers[name] for name in ("Location", "ETag", "Retry-After") if name in response.headers}
    text = response.data.decode(errors="replace")
    return {"line": line, "status": response.status, "headers": kept, "body": _pretty(text)}


def _pretty(text: str) -> str:
    with suppress(ValueError):
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]} …"


def _operations(service: str = "") -> list[Operation]:
    document = _document()
    if document is None:
        raise Unavailable("The edge does not respond, so its operations are not known.")
    return [
        Operation(content["operationId"], name, content["tags"][0], method, path, content)
        for path, item in document["paths"].items()
        for method, content in item.items()
        if method in METHODS and (name := content["operationId"].partition(".")[0]) in api.SERVICES
        if service in ("", name)
    ]


def _groups() -> list[dict[str, Any]]:
    """In the order of SERVICES."""
    document = _document() or {"tags": []}
    about = {tag["name"]: tag.get("description", "") for tag in document["tags"]}
    found = {each.service: each.tag for each in (_operations() if document["tags"] else [])}
    return [
        {"service": name, "title": found[name], "about": about.get(found[name], "")}
        for name in api.SERVICES
        if name in found
    ]


def _known() -> dict[str, str]:
    """Ids of things that are there, by parameter."""
    who = person.required().id
    read = api.each(
        products="/products/?limit=1&in_stock=true&sort=popular",
        orders=f"/orders/user/{who}?limit=1",
        payments=f"/payments/user/{who}?limit=1",
    )
    ids = {f"{name[:-1]}_id": found["items"][0]["id"] for name, found in read.items() if found and found["items"]}
    return {"user_id": who, **ids}


def _filled(operation: Operation, known: Mapping[str, str]) -> str:
    """The example, with ids that exist, and names that are not taken."""
    fresh = secrets.token_hex(3)
    values = {**known}
    example = operation.example or {}
    if "username" in example:
        values |= {"email": f"leila.{fresh}@example.com", "username": f"leila.{fresh}"}
    if operation.path in ("/users/login", "/users/password/forgot") and "docs_email" in session:
        values["email"] = session["docs_email"]
    if "sku" in example:
        values["sku"] = f"LANTERN-{fresh}"

    def fill(content: Any) -> Any:
        if isinstance(content, dict):
            return {name: values.get(name) or fill(value) for name, value in content.items()}
        return [fill(each) for each in content] if isinstance(content, list) else content

    return json.dumps(fill(example), indent=2, ensure_ascii=False)
