"""A whole installation for tests, as `./souk up` starts it, on free ports."""

import json
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import pytest
import urllib3

from launcher import mesh
from launcher.manifests import SERVICES
from launcher.progress import Progress
from launcher.services import ports_of, with_proxies
from launcher.stack import Stack
from tests.conftest import a_product, server_url
from tests.otlp import Receiver, receiving

ROOT = Path(__file__).parents[1]
DEADLINE_SECONDS = 60
POLL_SECONDS = 0.05
ATTEMPT_SECONDS = 5
RENEWAL_SECONDS = 60
PASSWORD = "correct horse battery"
FAILPOINTS = "failpoints"
FAILPOINTS_VARIABLE = "SOUK_FAILPOINTS_DIRECTORY"

_pool = urllib3.PoolManager(maxsize=32, timeout=30, retries=False)


def until(condition: Callable[[], Any], seconds: float = DEADLINE_SECONDS) -> Any:
    """The result of `condition` once it is true. Raises AssertionError after the deadline."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not true after {seconds} s"
        time.sleep(POLL_SECONDS)
    return found


class Person:
    """A client of the gateway, with a token after `sign_up` that is renewed before it expires."""

    def __init__(self, gateway_url: str) -> None:
        self.url = gateway_url
        self.headers: dict[str, str] = {}
        self.id = ""
        self.email = f"{uuid4().hex[:12]}@example.com"
        self.refresh_token = ""
        self.renew_at = math.inf

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> urllib3.BaseHTTPResponse:
        if time.monotonic() > self.renew_at:
            self.renew()
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **self.headers, **headers}
        return _pool.request(method, self.url + path, body=data, headers=sent)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The JSON body. Raises AssertionError for an error status."""
        response = self.send(method, path, body, **headers)
        assert response.status < 300, (response.status, response.data)
        return json.loads(response.data) if response.data else None

    def sign_up(self) -> "Person":
        """Register and log in."""
        names = {"username": self.email.partition("@")[0], "first_name": "Leila", "last_name": "Haddad"}
        password = {"email": self.email, "password": PASSWORD}
        self.id = self.call("POST", "/users/register", {**password, **names})["id"]
        return self.log_in()

    def log_in(self) -> "Person":
        """Get a token with the current roles."""
        return self._with(self._anonymously("/users/login", {"email": self.email, "password": PASSWORD}))

    def renew(self) -> "Person":
        """Get another token in the same session; unlike a login it is not throttled."""
        return self._with(self._anonymously("/users/token/refresh", {"refresh_token": self.refresh_token}))

    def _anonymously(self, path: str, body: Any) -> Any:
        self.headers, self.renew_at = {}, math.inf
        return self.call("POST", path, body)

    def _with(self, tokens: Any) -> "Person":
        self.headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        self.refresh_token = tokens["refresh_token"]
        self.renew_at = time.monotonic() + tokens["expires_in"] - RENEWAL_SECONDS
        return self

    def order(self, product_id: str, quantity: int = 1, payment_method: str = "tok_success", key: str = "") -> Any:
        body = _order_of(product_id, quantity, payment_method)
        return self.call("POST", "/orders/", body, **{"Idempotency-Key": key or uuid4().hex})

    def try_order(self, product_id: str, key: str) -> urllib3.BaseHTTPResponse:
        """Order one unit; any status is returned."""
        return self.send("POST", "/orders/", _order_of(product_id, 1, "tok_success"), **{"Idempotency-Key": key})

    def settled(self, order_id: str) -> Any:
        """The order once it is no longer pending."""

        def look() -> Any:
            order = self.call("GET", f"/orders/{order_id}")
            return order if order["status"] != "pending" else None

        return until(look)


def _order_of(product_id: str, quantity: int, payment_method: str) -> dict[str, Any]:
    return {"lines": [{"product_id": product_id, "quantity": quantity}], "payment_method": payment_method}


@contextmanager
def installed(folder: Path, meshed: bool = False, **environment: str) -> Iterator[Stack]:
    """A whole installation that runs during the block."""
    running = Stack(folder / "state", standard_ports=False, bound=True)
    if meshed:
        running.state.make()
        running.installation.is_meshed = True
    (folder / FAILPOINTS).mkdir()
    running.installation.environment = {
        **os.environ,
        # Programs can be killed at any failpoint: see chassis/base/failpoints.py.
        FAILPOINTS_VARIABLE: str(folder / FAILPOINTS),
        # Another process soon takes over what a killed one was sending, as the mail server here responds at once.
        "SOUK_ATTEMPT_SECONDS": str(ATTEMPT_SECONDS),
        # Nor does a deadline repair what a crash loses: it would hide the loss.
        "SOUK_REPLY_GRACE_SECONDS": "3600",
        # Tests are faster than any customer.
        "SOUK_RATE_LIMITS": json.dumps(dict.fromkeys(("enter", "anonymous", "token", "partner"), 1_000_000)),
        "SOUK_MAX_PER_HOUR": json.dumps(dict.fromkeys(("email", "sms", "push"), 1_000_000)),
        **environment,
    }
    running.up()
    try:
        yield running
    finally:
        running.down(wipe=True)


@contextmanager
def servers_alone(folder: Path, *names: str) -> Iterator[Stack]:
    """Servers of an installation, without services, during the block."""
    running = Stack(folder / "state", servers=names, services=False, standard_ports=False, bound=True)
    try:
        running.up()
        yield running
    finally:
        running.down(wipe=True)


def planned(folder: Path, environment: Mapping[str, str] | None = None, meshed: bool = False, **replicas: int) -> Stack:
    """An installation with ports, of which nothing runs."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (environment or {}).items():
            patch.setenv(name, value)
        stack = Stack(folder / "state", progress=Progress())
    stack.state.make()
    stack.installation.replicas = replicas
    names = [name for server in stack.servers.values() for name in server.ports]
    names += ports_of(replicas)
    if meshed:
        stack.installation.is_meshed = True
        names += mesh.ports_of(with_proxies(replicas))
    stack.installation.ports = {name: port for port, name in enumerate(names, 20_000)}
    return stack


def new_person(stack: Stack) -> Callable[[], Person]:
    """A function that registers and logs in a new person."""
    return lambda: Person(stack.gateway_url).sign_up()


def new_staff(stack: Stack, role: str = "staff") -> Person:
    """A new person with this role, given by the operator's command."""
    person = Person(stack.gateway_url).sign_up()
    command, environment = stack.services.one_shot(
        "users", "services.users.commands", "staff", "--email", person.email, "--role", role
    )
    subprocess.run(command, env=environment, cwd=ROOT, check=True, timeout=DEADLINE_SECONDS)
    return person.log_in()


def catalogue_of(stack: Stack, staff: Person | None = None) -> Callable[[int], str]:
    """A function that adds a product with this stock, and returns its id."""
    seller = staff or new_staff(stack)

    def sell(stock_quantity: int) -> str:
        made: str = seller.call("POST", "/products/", a_product(stock_quantity=stock_quantity))["id"]
        return made

    return sell


def signed(stack: Stack, claims: dict[str, Any], key_id: str = "") -> str:
    """An access token, signed as users would. key_id: another than the key's."""
    keys = json.loads(stack.services.keys.file("users").read_text())["jwt_keys"]
    own_id, key = next(iter(keys.items()))
    algorithm = "EdDSA" if key["material"].startswith("-----BEGIN") else "HS256"
    return jwt.encode(claims, key["material"], algorithm, {"kid": key_id or own_id})


def mails_url(stack: Stack) -> str:
    """The mailbox's list of messages."""
    return f"http://127.0.0.1:{stack.installation.ports['mailbox']}/{stack.services.mail_secret}/messages"


def edge_is_whole(stack: Stack) -> bool:
    """Whether the edge has a healthy target of every service; it notices a recovered one a moment later."""
    admin = f"http://127.0.0.1:{stack.installation.ports['gateway-admin']}"
    try:
        found = [_pool.request("GET", f"{admin}/upstreams/{name}/health").json()["data"] for name in SERVICES]
    except urllib3.exceptions.HTTPError:
        return False
    return all(any(target["health"] == "HEALTHY" for target in targets) for targets in found)


@pytest.fixture(scope="session")
def spans() -> Iterator[Receiver]:
    """Receives those of `stack`."""
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, spans: Receiver) -> Iterator[Stack]:
    server_url("POSTGRES")  # Exits with advice unless started by ./souk test.
    with installed(tmp_path_factory.mktemp("installation"), SOUK_OTLP_URL=spans.url) as running:
        yield running


@pytest.fixture
def person(stack: Stack) -> Callable[[], Person]:
    return new_person(stack)


@pytest.fixture
def kill(stack: Stack) -> Callable[[str], None]:
    """Kills a program and waits until it is restarted and ready."""

    def kill_and_wait(program: str) -> None:
        pid = stack.supervisor.statuses()[program].pid
        os.kill(pid, signal.SIGKILL)
        until(lambda: stack.supervisor.statuses()[program].pid not in (0, pid))
        stack.wait_ready(program)
        until(lambda: edge_is_whole(stack))

    return kill_and_wait


@pytest.fixture(scope="session")
def staff(stack: Stack) -> Person:
    return new_staff(stack)


@pytest.fixture(scope="session")
def admin(stack: Stack) -> Person:
    return new_staff(stack, "admin")


@pytest.fixture
def product(stack: Stack, staff: Person) -> Callable[[int], str]:
    return catalogue_of(stack, staff)
