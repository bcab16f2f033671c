"""Texts that are code to somebody else, sent in every text field of every service: refused by the field's name, or text all the way.

The fields are those of the OpenAPI documents, so a new one is tried without being named here.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

import pytest
import urllib3

from launcher.stack import Stack
from tests.installation import Person, catalogue_of, until
from tests.operations import Operation, Place, Things, documents_of, is_secret, operations_of, replaced, text_places

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
"""Done once, to one thing: each try needs another."""

REFUSED_HERE = {
    # Their tokens come by mail or with a login, and devices are addresses at push services outside: what is valid here is refused.
    ("post", "/users/email/verify"),
    ("post", "/users/password/reset"),
    ("post", "/users/token/refresh"),
    ("post", "/notifications/{user_id}/devices"),
    ("post", "/notifications/push"),
}

SHOWN_ELSEWHERE = {
    "/orders/{order_id}/refunds": "/orders/{order_id}/events",
    "/products/{product_id}/stock-adjustments": "/products/{product_id}/stock-movements",
}
"""Where what was sent to one path is read, if neither in the answer nor at the same path."""

Answer = urllib3.BaseHTTPResponse


class Tries:
    """Requests to one operation by an admin, about things of a customer."""

    def __init__(self, stack: Stack, admin: Person, operation: Operation, documents: Any) -> None:
        self.stack, self.admin, self.operation = stack, admin, operation
        self.document, self._documents = documents[operation.service], documents
        self._sell = catalogue_of(stack, admin)
        self._begin()

    def _begin(self) -> None:
        owner = Person(self.stack.gateway_url).enter()
        owner.ask("PUT", f"/notifications/{owner.id}/preferences", {"phone": "+4915112345678"})
        self.things = Things(self._documents, owner, self._sell)
        self.sender = owner if self.operation.path.startswith("/users/me") else self.admin

    @property
    def places(self) -> list[Place]:
        return text_places(self.document, self.operation)

    @property
    def is_accepted(self) -> bool:
        """Whether a request with nothing strange in it is. What is paid back must have been paid first, which takes a moment."""
        if (self.operation.method, self.operation.path) in REFUSED_HERE:
            return self._ask() < 300
        return bool(until(lambda: self._ask() < 300))

    def _ask(self) -> int:
        return self.post(self.things.body(self.operation)).status

    def send(self, place: Place, value: Any) -> Answer:
        return self.post(replaced(self.things.body(self.operation), place, value))

    def post(self, body: Any) -> Answer:
        headers = {"Idempotency-Key": uuid4().hex, "If-Match": "*"}
        answer = self.sender.send(self.operation.method.upper(), self.things.path(self.operation), body, **headers)
        assert "X-Injected" not in answer.headers
        self.read = self._texts(answer) if answer.status < 300 else []
        if answer.status < 300 and (self.operation.method, self.operation.path) in USED_UP:
            self._begin()
        return answer

    def _texts(self, answer: Answer) -> list[str]:
        """Every text in the answer, and of what is shown of the thing afterwards."""
        elsewhere = SHOWN_ELSEWHERE.get(self.operation.path)
        path = answer.headers.get("Location") or (self.operation.method == "put" and self.things.path(self.operation))
        if elsewhere:
            path = self.things.path(Operation(self.operation.service, "get", elsewhere, None))
        shown = [json.loads(answer.data)] if answer.data else []
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


def faults(tries: Tries, place: Place) -> Iterator[str]:
    """What is wrong with how the text at `place` is dealt with."""
    secret = is_secret(tries.document, tries.operation, place)
    for text in INJECTIONS if not secret else (" ".join(INJECTIONS[:-1]),):
        answer = tries.send(place, text)
        if answer.status < 300:
            if secret and any(text in shown for shown in tries.read):
                yield f"{text!r} is shown"
            # An SMS is one line: its words are the same.
            if not secret and not any(_words(text) in _words(shown) for shown in tries.read):
                yield f"{text!r} was taken, and is not what is shown: {tries.read}"
        else:
            yield from _badly_refused(answer, place, text)
    for operator in OPERATORS:
        answer = tries.send(place, operator)
        if answer.status < 300:
            yield f"{operator} was taken for a text"
        yield from _badly_refused(answer, place, operator)


def _words(text: str) -> str:
    return " ".join(text.split())


def _badly_refused(answer: Answer, place: Place, sent: Any) -> Iterator[str]:
    """A refusal is a problem that, if it is about what a field is, names the field."""
    if not 300 <= answer.status < 500 or answer.headers.get("Content-Type") != "application/problem+json":
        yield f"{sent!r}: {answer.status} {answer.data[:200]!r}"
        return
    errors = answer.json().get("errors", [])
    named = {error["field"].replace("[", ".").split(".")[0] for error in errors}
    # No text of ours has a NUL, so a body with one is refused before it is taken apart.
    expected = "body" if isinstance(sent, str) and "\0" in sent else place[0]
    if errors and expected not in named:
        yield f"{sent!r}: refused for {named}"


@pytest.mark.timeout(300)
def test_what_is_code_to_others_is_text_in_every_field_or_refused(stack: Stack, admin: Person) -> None:
    documents = documents_of(stack)
    wrong, tried = [], 0
    for operation in operations_of(documents):
        if not text_places(documents[operation.service], operation) or operation.path.startswith("/internal/"):
            continue
        tries = Tries(stack, admin, operation, documents)
        assert tries.is_accepted is ((operation.method, operation.path) not in REFUSED_HERE), operation.title
        for place in tries.places:
            tried += 1
            wrong += [f"{operation.title}, {place}: {fault}" for fault in faults(tries, place)]
    assert tried > 50
    assert not wrong, "\n".join(wrong)


def test_markup_in_names_and_messages_is_text_in_the_html_of_mails(stack: Stack, admin: Person) -> None:
    somebody = Person(stack.gateway_url).enter()
    name = {"email": somebody.email, "username": somebody.email.partition("@")[0], "first_name": HTML}
    somebody.ask("PUT", f"/users/{somebody.id}", name)
    message = {"user_id": somebody.id, "subject": f"{HTML} {{{{7*7}}}}", "body": f"{HTML} {{{{7*7}}}}"}
    admin.ask("POST", "/notifications/email", message, **{"Idempotency-Key": uuid4().hex})
    mail = until(lambda: letter(stack, somebody.email, message["subject"]))
    assert HTML not in mail["html"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt; {{7*7}}" in mail["html"]
    assert message["body"] in mail["text"]


def letter(stack: Stack, recipient: str, subject: str) -> Any:
    mailbox = f"http://127.0.0.1:{stack.installation.ports['mailbox']}/messages"
    for summary in urllib3.request("GET", f"{mailbox}?to={recipient}").json()["items"]:
        if summary["subject"] == subject:
            return urllib3.request("GET", f"{mailbox}/{summary['id']}").json()
    return None
