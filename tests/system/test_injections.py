"""Injections in every text field of every service are rejected by the name of the field, or stay plain text.

The fields come from the OpenAPI documents, so new ones are covered.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

import pytest
import urllib3

from launcher.stack import Stack
from tests.installation import Person, catalogue_of, mails_url, until
from tests.operations import (
    INNER,
    Operation,
    Place,
    Things,
    documents_of,
    is_secret,
    operations_of,
    replaced,
    text_places,
)

HTML = "<script>alert(1)</script>"
MARKUP = f'"><img src=x onerror=alert(1)>{HTML}'
INJECTIONS = (
    "' OR '1'='1'; DROP TABLE users;--",
    '{"$gt": ""} $where: sleep(1000)',
    "one\r\nX-Injected: yes\r\n\r\n<b>two</b>",
    "{{7*7}} ${7*7} <%= 7*7 %> #{7*7} %(password)s {0.__class__}",
    MARKUP,
    "nothing\0more",
)
OPERATORS = ({"$gt": ""}, [{"$ne": None}])

USED_UP = {("put", "/orders/{order_id}/status"), ("put", "/users/me/password")}
"""Possible once per record, so each attempt needs a new one."""

REFUSED_HERE = {
    # They need tokens from mails or logins, or external push services, so even valid requests are rejected.
    ("post", "/users/email/verify"),
    ("post", "/users/password/reset"),
    ("post", "/users/token/refresh"),
    ("post", "/notifications/{user_id}/devices"),
    ("post", "/notifications/push"),
}

SHOWN_ELSEWHERE = {
    "/orders/{order_id}/status": "/orders/{order_id}/events",
    "/orders/{order_id}/refunds": "/orders/{order_id}/events",
    "/products/{product_id}/stock-adjustments": "/products/{product_id}/stock-movements",
}
"""Where the text is shown, if neither in the response nor at the same path."""

Answer = urllib3.BaseHTTPResponse


class Attempts:
    """Requests by an admin to one operation, about a customer's records."""

    def __init__(self, stack: Stack, admin: Person, operation: Operation, documents: Any) -> None:
        self.stack, self.admin, self.operation = stack, admin, operation
        self.document, self._documents = documents[operation.service], documents
        self._sell = catalogue_of(stack, admin)
        self._begin()

    def _begin(self) -> None:
        owner = Person(self.stack.gateway_url).sign_up()
        phone = {"phone": "+4915112345678"}
        # Notifications learns of a user a moment later.
        until(lambda: owner.send("PUT", f"/notifications/{owner.id}/preferences", phone).status < 300)
        self.things = Things(self._documents, owner, self._sell)
        self.sender = owner if self.operation.path.startswith("/users/me") else self.admin

    @property
    def places(self) -> list[Place]:
        return text_places(self.document, self.operation)

    @property
    def is_accepted(self) -> bool:
        """Whether a valid request succeeds; a refund needs a captured payment, which takes a moment."""
        if (self.operation.method, self.operation.path) in REFUSED_HERE:
            return self._status() < 300
        return bool(until(lambda: self._status() < 300))

    def _status(self) -> int:
        return self.post(self.things.body(self.operation)).status

    def send(self, place: Place, value: Any) -> Answer:
        return self.post(replaced(self.things.body(self.operation), place, value))

    def post(self, body: Any) -> Answer:
        headers = {"Idempotency-Key": uuid4().hex, "If-Match": "*"}
        response = self.sender.send(self.operation.method.upper(), self.things.path(self.operation), body, **headers)
        assert "X-Injected" not in response.headers
        self.read = self._texts(response) if response.status < 300 else []
        if response.status < 300 and (self.operation.method, self.operation.path) in USED_UP:
            self._begin()
        return response

    def _texts(self, response: Answer) -> list[str]:
        """Every text in the response, and in the record as shown afterwards."""
        elsewhere = SHOWN_ELSEWHERE.get(self.operation.path)
        path = response.headers.get("Location") or (self.operation.method == "put" and self.things.path(self.operation))
        if elsewhere:
            path = self.things.path(Operation(self.operation.service, "get", elsewhere, None))
        shown = [json.loads(response.data)] if response.data else []
        if path:
            again = self.admin.send("GET", path)
            shown += [json.loads(again.data)] if again.status == 200 else []
        return list(_leaves(shown))


def _leaves(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from _leaves(value)
    elif isinstance(content, list):
        for value in content:
            yield from _leaves(value)


def errors_of(tries: Attempts, place: Place) -> Iterator[str]:
    """Errors in handling injections at `place`."""
    secret = is_secret(tries.document, tries.operation, place)
    for text in INJECTIONS if not secret else (" ".join(INJECTIONS[:-1]),):
        response = tries.send(place, text)
        if response.status < 300:
            if secret and any(text in shown for shown in tries.read):
                yield f"{text!r} is shown"
            # An SMS is one line with the same words.
            if not secret and not any(_words(text) in _words(shown) for shown in tries.read):
                yield f"{text!r} was accepted, but not shown: {tries.read}"
        else:
            yield from _badly_rejected(response, place, text)
    for operator in OPERATORS:
        response = tries.send(place, operator)
        if response.status < 300:
            yield f"{operator} was accepted as text"
        yield from _badly_rejected(response, place, operator)


def _words(text: str) -> str:
    return " ".join(text.split())


def _badly_rejected(response: Answer, place: Place, sent: Any) -> Iterator[str]:
    """A rejection is a problem that names the field, if it is about one."""
    if not 300 <= response.status < 500 or response.headers.get("Content-Type") != "application/problem+json":
        yield f"{sent!r}: {response.status} {response.data[:200]!r}"
        return
    errors = response.json().get("errors", [])
    named = {error["field"].replace("[", ".").split(".")[0] for error in errors}
    # A body with a NUL is rejected as a whole.
    expected = "body" if isinstance(sent, str) and "\0" in sent else place[0]
    if errors and expected not in named:
        yield f"{sent!r}: rejected for {named}"


@pytest.mark.timeout(300)
def test_injections_are_rejected_or_stay_text_in_every_field(stack: Stack, admin: Person) -> None:
    documents = documents_of(stack)
    wrong, tried = [], 0
    for operation in operations_of(documents):
        if not text_places(documents[operation.service], operation) or operation.path.startswith(INNER):
            continue
        tries = Attempts(stack, admin, operation, documents)
        assert tries.is_accepted is ((operation.method, operation.path) not in REFUSED_HERE), operation.title
        for place in tries.places:
            tried += 1
            wrong += [f"{operation.title}, {place}: {error}" for error in errors_of(tries, place)]
    assert tried > 50
    assert not wrong, "\n".join(wrong)


def test_markup_in_names_and_messages_is_escaped_in_mails(stack: Stack, admin: Person) -> None:
    user = Person(stack.gateway_url).sign_up()
    name = {"email": user.email, "username": user.email.partition("@")[0], "first_name": "Ada"}
    user.call("PUT", f"/users/{user.id}", name)
    message = {"user_id": user.id, "subject": f"{HTML} {{{{7*7}}}}", "body": f"{HTML} {{{{7*7}}}}"}
    admin.call("POST", "/notifications/email", message, **{"Idempotency-Key": uuid4().hex})
    mail = until(lambda: letter(stack, user.email, message["subject"]))
    assert HTML not in mail["html"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt; {{7*7}}" in mail["html"]
    assert message["body"] in mail["text"]


def letter(stack: Stack, recipient: str, subject: str) -> Any:
    mailbox = mails_url(stack)
    for summary in urllib3.request("GET", f"{mailbox}?to={recipient}").json()["items"]:
        if summary["subject"] == subject:
            return urllib3.request("GET", f"{mailbox}/{summary['id']}").json()
    return None
