"""The operations in the OpenAPI documents of a running installation, and valid requests to them."""

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import hypothesis
import schemathesis
import urllib3

from launcher.manifests import SERVICES
from launcher.stack import Stack
from tests.installation import PASSWORD, Person, until

ALLOW = "x-souk-allow"
METHODS = ("get", "post", "put", "patch", "delete")

Documents = Mapping[str, Mapping[str, Any]]
"""OpenAPI documents by service."""

Place = tuple[str | int, ...]
"""A path in a body: field names and list indices."""


INNER = ("/internal/", "/operations/")
"""Paths that the edge does not route."""


@dataclass(frozen=True)
class Operation:
    service: str
    method: str
    path: str
    allow: Mapping[str, Any] | None

    @property
    def title(self) -> str:
        return f"{self.service}: {self.method.upper()} {self.path}"


def address(stack: Stack, service: str) -> str:
    """Base URL of the service, behind the edge."""
    return f"http://127.0.0.1:{stack.installation.ports[f'{service}-web']}"


def openapi_url(stack: Stack) -> str:
    """Of the joined document."""
    return f"http://127.0.0.1:{stack.installation.ports['gateway-admin']}/openapi.json"


def documents_of(stack: Stack) -> Documents:
    return {service: urllib3.request("GET", f"{address(stack, service)}/openapi.json").json() for service in SERVICES}


def operations_of(documents: Documents) -> Iterator[Operation]:
    for service, document in documents.items():
        for path, operations in document["paths"].items():
            for method in METHODS:
                if method in operations:
                    yield Operation(service, method, path, operations[method].get(ALLOW))


NAMES = {"first_name": "Ada", "last_name": "Lovelace"}


class Things:
    """New records of the owner for the placeholders of paths."""

    def __init__(self, documents: Documents, owner: Person, sell: Callable[[int], str]) -> None:
        self._documents, self._owner, self._sell = documents, owner, sell
        self._made: dict[str, str] = {}

    def fill(self, operation: Operation) -> tuple[str, str, Any]:
        """Path, query and body of a valid request."""
        case = smallest(self._documents[operation.service], operation)
        query = f"?{urlencode(case.query)}" if case.query else ""
        body = case.body if isinstance(case.body, dict | list) else None
        if isinstance(body, dict):
            # Names have rules that the document cannot express.
            body = {**body, **{name: value for name, value in NAMES.items() if name in body}}
        return self.path(operation), query, body

    def path(self, operation: Operation) -> str:
        path = operation.path
        for name in [part[1:-1] for part in path.split("/") if part.startswith("{")]:
            path = path.replace("{" + name + "}", self._thing(name))
        return path

    def body(self, operation: Operation) -> dict[str, Any]:
        """The simplest body that is accepted, with fields that fit this installation."""
        body = smallest(self._documents[operation.service], operation).body
        fields = _body_schema(self._documents[operation.service], operation)["properties"]
        values = self._values()
        if operation.path == "/users/register":
            name = uuid4().hex[:12]
            values |= {"email": f"{name}@example.com", "username": name}
        if "lines" in fields:
            values["lines"] = [{"product_id": self._thing("product_id"), "quantity": 1}]
        if "payment_id" in fields:
            values["payment_id"] = self._thing("payment_id")
        return {**body, **{name: values[name] for name in fields if name in values}}

    def _values(self) -> dict[str, Any]:
        return {
            "user_id": self._owner.id,
            "email": self._owner.email,
            "username": self._owner.email.partition("@")[0],
            **NAMES,
            "password": PASSWORD,
            "current_password": PASSWORD,
            "new_password": "another horse battery",
            "sku": uuid4().hex[:12],
            "price": "12.50",
            "amount": "0.01",
            "currency": "EUR",
            "payment_method": "tok_success",
            "token": "tok_success",
            "status": "cancelled",
            "quantity": 1,
            "time_zone": "Europe/Vienna",
        }

    def _thing(self, name: str) -> str:
        if name not in self._made:
            maker: Callable[[], str] = getattr(self, f"_{name}", lambda: self._created(name))
            self._made[name] = maker()
        return self._made[name]

    def _created(self, name: str) -> str:
        """The id of a record that a POST to its collection creates."""
        for operation in operations_of(self._documents):
            if operation.method == "post" and any(
                path == f"{operation.path.rstrip('/')}/{{{name}}}"
                for path in self._documents[operation.service]["paths"]
            ):
                body, key = self.body(operation), {"Idempotency-Key": uuid4().hex}
                return str(self._owner.call("POST", self.path(operation), body, **key)["id"])
        raise LookupError(f"Add a method for {{{name}}}: no POST creates it.")

    def _user_id(self) -> str:
        return self._owner.id

    def _product_id(self) -> str:
        return self._sell(5)

    def _order_id(self) -> str:
        placed: str = self._owner.order(self._sell(5))["id"]
        return placed

    def _payment_id(self) -> str:
        body = {"amount": "5.00", "currency": "EUR", "payment_method": "tok_success"}
        paid: str = self._owner.call("POST", "/payments/process", body, **{"Idempotency-Key": uuid4().hex})["id"]
        return paid

    def _method_id(self) -> str:
        body = {"token": "tok_success", "label": "My blue card"}
        kept: str = self._owner.call("POST", "/payments/methods", body, **{"Idempotency-Key": uuid4().hex})["id"]
        return kept

    def _device_id(self) -> str:
        # Devices are addresses at external push services, so there is none here.
        return str(uuid4())

    def _notification_id(self) -> str:
        listed = until(lambda: self._owner.call("GET", f"/notifications/{self._owner.id}")["items"])
        first: str = listed[0]["id"]
        return first

    def _request_id(self) -> str:
        return str(uuid4())

    def _provider(self) -> str:
        return "sandbox"

    def _token(self) -> str:
        return "nonsense"

    def _letter_id(self) -> str:
        """Of none, which is known only to those who may know."""
        return "nonsense"


_CASES: dict[str, Any] = {}


def smallest(document: Mapping[str, Any], operation: Operation) -> Any:
    """The simplest request that fits the document."""
    if operation.title not in _CASES:
        described = schemathesis.openapi.from_dict(dict(document))[operation.path][operation.method.upper()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            settings = hypothesis.settings(max_examples=1, phases=[hypothesis.Phase.generate])
            _CASES[operation.title] = hypothesis.find(described.as_strategy(), lambda case: True, settings=settings)
    return _CASES[operation.title]


def text_places(document: Mapping[str, Any], operation: Operation) -> list[Place]:
    """Every place of the operation's JSON body that takes a string."""
    schema = _body_schema(document, operation)
    return list(dict.fromkeys(_texts(document, schema, ()))) if schema else []


def is_secret(document: Mapping[str, Any], operation: Operation, place: Place) -> bool:
    """Whether the field is never returned."""
    field: Mapping[str, Any] = _body_schema(document, operation)["properties"][place[0]]
    return bool(field.get("writeOnly"))


def replaced(body: dict[str, Any], place: Place, value: Any) -> dict[str, Any]:
    """`body` with `value` at `place`."""
    changed: Any = copy.deepcopy(body)
    inner = changed
    for step, following in pairwise(place):
        if isinstance(inner, dict) and not inner.get(step):
            inner[step] = [None] if isinstance(following, int) else {}
        inner = inner[step]
    inner[place[-1]] = value
    return dict(changed)


def _body_schema(document: Mapping[str, Any], operation: Operation) -> Mapping[str, Any]:
    content = document["paths"][operation.path][operation.method].get("requestBody", {}).get("content", {})
    return _resolved(document, content["application/json"]["schema"]) if "application/json" in content else {}


def _texts(document: Mapping[str, Any], schema: Mapping[str, Any], place: Place) -> Iterator[Place]:
    schema = _resolved(document, schema)
    for choice in [*schema.get("anyOf", []), *schema.get("allOf", [])]:
        yield from _texts(document, choice, place)
    if schema.get("type") == "string":
        yield place
    if schema.get("type") == "array":
        yield from _texts(document, schema["items"], (*place, 0))
    for name, field in schema.get("properties", {}).items():
        yield from _texts(document, field, (*place, name))


def _resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema
