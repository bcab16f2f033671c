"""Calls of the public API with the person's own token: the console has no rights of its own."""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

from flask import g, session

from chassis.base.parsing import parse_json
from chassis.base.problems import Problem, Unavailable
from chassis.clients import BadResponse, Client, Policy
from chassis.clients.peers import Request, Response
from chassis.web import forwarded
from services.console import person
from services.console.settings import ConsoleSettings

SERVICES = ("users", "products", "orders", "payments", "notifications")

MAX_HEADER_CHARACTERS = 128

# Writes are sent once, and may take longer than a read.
_POLICY = Policy(timeout_seconds=8.0, try_seconds=4.0, slot_seconds=1.0)
_clients = {name: Client(name, _POLICY) for name in SERVICES}


class Refusal(Exception):
    """An error response: `title` and `detail` are for the person, `errors` are {field: message}."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(problem.get("title"))
        self.status = status
        self.title = str(problem.get("title") or "The request was refused")
        self.detail = str(problem.get("detail") or "")
        self.errors = {str(each["field"]): str(each["message"]) for each in problem.get("errors", [])}

    @property
    def text(self) -> str:
        return self.detail or self.title


class Missing:
    """What one service cannot give for a page at present: false, and says why."""

    def __init__(self, text: str, is_failure: bool = True) -> None:
        self.text, self.is_failure = text, is_failure

    def __bool__(self) -> bool:
        return False


class LoggedOut(Exception):
    """The session has ended elsewhere."""


def get(path: str, **query: Any) -> Any:
    return call("GET", path, query=query)


def is_there(path: str) -> bool:
    """Raises as `call`, but for a 404."""
    try:
        get(path)
    except Refusal as refusal:
        if refusal.status != 404:
            raise
        return False
    return True


def post(path: str, body: Any = None, key: str = "") -> Any:
    """key: an Idempotency-Key, from the form, so that sending it twice creates one thing."""
    return call("POST", path, body, {"Idempotency-Key": from_form(key) or str(uuid4())})


def from_form(text: str) -> str:
    """To be sent as a header. Raises Refusal."""
    if len(text) > MAX_HEADER_CHARACTERS or not (text.isascii() and (text.isprintable())):
        raise Refusal(400, {"title": "This form is damaged", "detail": "Reload the page, and send it again."})
    return text


def segment(text: str) -> str:
    """Of a path."""
    return quote(text, safe="")


def call(
    method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, query: Mapping[str, Any] = {}
) -> Any:
    """The response's JSON. Raises Refusal, LoggedOut, and the client's Unavailable and BadResponse."""
    given = {name: value for name, value in query.items() if value not in (None, "")}
    response = exchange(method, f"{path}?{urlencode(given)}" if given else path, body, headers)
    if response.status == 401 and person.current() is not None:
        raise LoggedOut
    return _content(method, path, response)


def exchange(method: str, target: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Response:
    """The response to the person's request. Raises LoggedOut, Unavailable and BadResponse."""
    _renew_in_time()
    who = person.current()
    if who is None:
        return _send(method, target, body, headers)
    response = _send(method, target, body, {**who.bearer, **(headers or {})})
    if response.status == 401 and "invalid_token" in response.headers.get("WWW-Authenticate", ""):
        # Roles may have changed, which ends the token and not the session.
        _renew(who.token)
        response = _send(method, target, body, {**person.required().bearer, **(headers or {})})
    return response


def send(method: str, path: str, body: Any = None) -> Any:
    """As nobody."""
    return _content(method, path, _send(method, path, body))


def _send(method: str, target: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Response:
    """body: bytes as they are, anything else as JSON."""
    settings = ConsoleSettings.current()
    sent = {
        "Accept": "application/json",
        "X-Forwarded-For": forwarded.client_address(settings) or "",
        **(headers or {}),
    }
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
        sent["Content-Type"] = "application/json"
    _, service, rest = target.split("/", 2)
    if rest.startswith("operations/"):
        # The same in every service, and only called from inside.
        target = f"/{rest}"
    return _clients[service].send(Request(target, sent, method, body or None), settings)


def _content(method: str, path: str, response: Response) -> Any:
    try:
        content = parse_json(response.data) if response.data else {}
    except ValueError as error:
        raise BadResponse(f"The response to {method} {path} is not JSON.") from error
    if response.status >= 400:
        raise Refusal(response.status, content if isinstance(content, dict) else {})
    return content


def each(**paths: str) -> dict[str, Any]:
    """Several reads at once, by name; Missing for what its service cannot give at present."""
    _renew_in_time()

    def read(path: str) -> Any:
        service = path.split("/")[1]
        try:
            return get(path)
        except (Unavailable, BadResponse):
            return Missing(f"The {service} service does not respond.")
        except Refusal as refusal:
            if refusal.status != 404:
                raise
            # Services hear of each other's news a moment later.
            return Missing(
                f"The {service} service has nothing here yet. Reload the page in a moment.", is_failure=False
            )

    with ThreadPoolExecutor(len(paths)) as pool:
        running = {name: pool.submit(copy_context().run, read, path) for name, path in paths.items()}
        return {name: future.result() for name, future in running.items()}


def _renew_in_time() -> None:
    """Without the users service, what is open to anyone is shown all the same, and the token serves while it lasts."""
    if person.is_stale():
        with suppress(Problem, Refusal):
            _renew(session["tokens"]["access"])


def _renew(used: str) -> None:
    """Instead of the access token `used`. Raises LoggedOut, Problem, and Refusal when there are too many.

    Repeated at once, an exchange gives the same tokens: two pages may do it side by side.
    """
    if failure := g.get("renewal_failure"):
        raise failure
    if g.get("is_streaming"):
        raise LoggedOut  # the cookie has been sent: the next request renews
    held = session["tokens"]
    if held["access"] != used:
        return
    try:
        tokens = send("POST", "/users/token/refresh", {"refresh_token": held["refresh"]})
    except Refusal as refusal:
        if refusal.status == 429:
            g.renewal_failure = refusal
            raise
        raise LoggedOut from refusal
    except Problem as problem:
        g.renewal_failure = problem
        raise
    person.keep(tokens, held["name"])
