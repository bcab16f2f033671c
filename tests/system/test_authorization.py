"""Every operation of every service, called by every kind of caller, admits exactly those in its OpenAPI document.

The services are called directly, behind the edge, since each enforces permissions itself. The expected status follows from
`x-souk-allow` alone, so an operation that admits more than it declares, or declares nothing, fails.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import jwt
import pytest
import urllib3
from rich.console import Console
from rich.table import Table

from chassis.base import clock
from chassis.base.problems import Unauthorized
from launcher.manifests import CALLERS, SERVICES
from launcher.stack import Stack
from tests.installation import Person, catalogue_of, signed, until
from tests.operations import Operation, Things, address, documents_of, operations_of

IN = "in"

_pool = urllib3.PoolManager(maxsize=16, timeout=30, retries=False)


@dataclass(frozen=True)
class Caller:
    name: str
    headers: Mapping[str, str]
    role: str = ""
    service: str = ""
    is_owner: bool = False
    is_known: bool = True

    def expected(self, operation: Operation) -> str:
        """`in`, or the status of the refusal."""
        allow = operation.allow or {}
        if allow["anyone"] or self.service in allow["services"]:
            return IN
        if not self.is_known or (self.service and self.service not in CALLERS[operation.service]):
            return "401"
        if self.role not in allow["roles"]:
            return "403"
        return "404" if allow["owner"] and not self.is_owner and self.role == "customer" else IN


class Platform:
    """The services behind the edge, with the people and records that the attempts need."""

    def __init__(self, stack: Stack, sell: Callable[[int], str]) -> None:
        self.stack, self.sell = stack, sell
        self.documents = documents_of(stack)
        self.owner, self.other = self.new_person(), self.new_person()

    def new_person(self) -> Person:
        return Person(self.stack.gateway_url).sign_up()

    def things(self, owner: Person) -> Things:
        return Things(self.documents, owner, self.sell)

    def people(self, owner: Person) -> list[Caller]:
        """Users of every role, each with a separate token, as some attempts revoke it."""
        other = self.other if owner is self.owner else self.new_person()
        return [
            Caller("customer", self._bearer(owner, "customer"), "customer", is_owner=True),
            Caller("other customer", self._bearer(other, "customer"), "customer"),
            Caller("staff", self._bearer(other, "staff"), "staff"),
            Caller("admin", self._bearer(other, "admin"), "admin"),
        ]

    def non_users(self) -> list[Caller]:
        """Callers who are not users: anonymous, services, and invalid credentials."""
        keys = {
            service: json.loads(self.stack.services.keys.file(service).read_text())["api_key"] for service in SERVICES
        }
        bad = {name: {"Authorization": f"Bearer {text}"} for name, text in self._bad_tokens().items()}
        return [
            Caller("anonymous", {}, is_known=False),
            *(Caller(f"key of {name}", {"X-API-Key": key}, service=name) for name, key in keys.items()),
            Caller("unknown key", {"X-API-Key": "nonsense"}, is_known=False),
            *(Caller(name, headers, is_known=False) for name, headers in bad.items()),
        ]

    def send(self, operation: Operation, caller: Caller, things: Things) -> urllib3.BaseHTTPResponse:
        path, query, body = things.fill(operation)
        headers = {"Idempotency-Key": uuid4().hex, "If-Match": "*", **caller.headers}
        if body is not None:
            headers["Content-Type"] = "application/json"
        url = f"{address(self.stack, operation.service)}{path}{query}"
        data = None if body is None else json.dumps(body).encode()
        return _pool.request(operation.method.upper(), url, body=data, headers=headers, redirect=False)

    # --- inside

    def _claims(self, person: Person, **changes: Any) -> dict[str, Any]:
        token = person.headers["Authorization"].removeprefix("Bearer ")
        claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
        return {**claims, "jti": uuid4().hex, **changes}

    def _bearer(self, person: Person, role: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._signed(self._claims(person, roles=[role]))}"}

    def _signed(self, claims: dict[str, Any]) -> str:
        return signed(self.stack, claims)

    @property
    def _key_id(self) -> str:
        return str(jwt.get_unverified_header(self._signed({}))["kid"])

    def _bad_tokens(self) -> dict[str, str]:
        """Each claims to be an admin's, with one defect."""
        claims = self._claims(self.owner, roles=["admin"])
        promoted = self._signed(claims).split(".")[1]
        start, _, signature = self._signed(self._claims(self.owner)).split(".")
        return {
            "expired": self._signed({**claims, "exp": clock.now() - timedelta(minutes=1)}),
            "tampered": f"{start}.{promoted}.{signature}",
            "alg none": jwt.encode(claims, "", "none", {"kid": self._key_id}),
            "wrong audience": self._signed({**claims, "aud": "elsewhere"}),
            "wrong issuer": self._signed({**claims, "iss": "elsewhere"}),
            "unknown key id": signed(self.stack, claims, key_id="nobody"),
            "revoked": self._revoked(),
        }

    def _revoked(self) -> str:
        leaving = self.new_person()
        leaving.headers = self._bearer(leaving, "admin")
        leaving.call("POST", "/users/logout")
        until(lambda: leaving.send("GET", "/users/me").status == 401)
        until(lambda: leaving.send("GET", "/orders/").status == 401)
        return leaving.headers["Authorization"].removeprefix("Bearer ")


def verdict(response: urllib3.BaseHTTPResponse, operation: Operation) -> str:
    """A 404 refuses only where ownership is declared; a 401 of another type is about credentials in the body."""
    assert operation.allow is not None
    refusals = {401, 403} | ({404} if operation.allow["owner"] else set())
    if response.status == 401 and response.json()["type"] != Unauthorized.type:
        return IN
    return str(response.status) if response.status in refusals else IN


def tries(platform: Platform, operation: Operation, non_users: list[Caller]) -> Iterator[tuple[Caller, str]]:
    """Each caller with the result. Callers who are admitted get their own people and records."""
    assert operation.allow is not None
    shared, people = platform.things(platform.owner), platform.people(platform.owner)
    for number, caller in enumerate([*people, *non_users]):
        things = shared
        if caller.expected(operation) == IN and operation.method != "get":
            # Accounts and sessions are changed, so each attempt gets its own.
            owner = platform.new_person() if operation.service == "users" else platform.owner
            things = platform.things(owner)
            caller = platform.people(owner)[number] if number < len(people) else caller
        yield caller, verdict(platform.send(operation, caller, things), operation)


@pytest.fixture(scope="module")
def platform(stack: Stack, staff: Person) -> Platform:
    return Platform(stack, catalogue_of(stack, staff))


@pytest.mark.timeout(900)
def test_every_operation_admits_exactly_the_callers_that_it_declares(
    platform: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    operations, non_users = list(operations_of(platform.documents)), platform.non_users()
    assert not [operation.title for operation in operations if operation.allow is None]
    rows, wrong = [], []
    for operation in operations:
        met = list(tries(platform, operation, non_users))
        rows.append((operation.title, *(found for _, found in met)))
        for caller, found in met:
            expected = caller.expected(operation)
            if found != expected and not (found == "404" and "{device_id}" in operation.path):
                wrong.append(f"{operation.title} for {caller.name}: {found}, declared {expected}")
    with capsys.disabled():
        names = [caller.name for caller, _ in met]
        _show(names, rows)
    assert not wrong, "\n".join(wrong)


def _show(names: list[str], rows: list[tuple[str, ...]]) -> None:
    table = Table("route", *names, title="Callers admitted to each operation, or the status of the refusal")
    for row in rows:
        table.add_row(*row)
    Console(width=260).print(table)
