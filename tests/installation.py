"""For tests in any folder: a whole installation on free ports, as `./souk up` makes it, every program under its supervisor."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import urllib3

from launcher.progress import Progress
from launcher.services import SERVICES, ports_of
from launcher.stack import Stack
from tests.conftest import a_product, server_url

ROOT = Path(__file__).parents[1]
DEADLINE_SECONDS = 60
POLL_SECONDS = 0.05
ATTEMPT_SECONDS = 5
PASSWORD = "correct horse battery"
FAULTS = "faults"
FAULTS_VARIABLE = "SOUK_FAILPOINTS_DIRECTORY"

_pool = urllib3.PoolManager(maxsize=32, timeout=30, retries=False)


def until(condition: Callable[[], Any], seconds: float = DEADLINE_SECONDS) -> Any:
    """What `condition` gives once that is true. Raises AssertionError after the deadline."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"still not so after {seconds} s"
        time.sleep(POLL_SECONDS)
    return found


class Person:
    """Speaks to the platform through its gateway; with a token after `enter`."""

    def __init__(self, gateway_url: str) -> None:
        self.url = gateway_url
        self.headers: dict[str, str] = {}
        self.id = ""
        self.email = f"{uuid4().hex[:12]}@example.com"

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> urllib3.BaseHTTPResponse:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **self.headers, **headers}
        return _pool.request(method, self.url + path, body=data, headers=sent)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The JSON answer. Raises AssertionError for a refusal."""
        answer = self.send(method, path, body, **headers)
        assert answer.status < 300, (answer.status, answer.data)
        return json.loads(answer.data) if answer.data else None

    def enter(self) -> "Person":
        """Register and log in."""
        names = {"username": self.email.partition("@")[0], "first_name": "Leila", "last_name": "Haddad"}
        password = {"email": self.email, "password": PASSWORD}
        self.id = self.ask("POST", "/users/register", {**password, **names})["id"]
        return self.log_in()

    def log_in(self) -> "Person":
        """With the roles of now, and for another 15 minutes."""
        self.headers = {}
        token = self.ask("POST", "/users/login", {"email": self.email, "password": PASSWORD})["access_token"]
        self.headers = {"Authorization": f"Bearer {token}"}
        return self

    def order(self, product_id: str, quantity: int = 1, payment_method: str = "tok_success", key: str = "") -> Any:
        body = _order_of(product_id, quantity, payment_method)
        return self.ask("POST", "/orders/", body, **{"Idempotency-Key": key or uuid4().hex})

    def try_order(self, product_id: str, key: str) -> urllib3.BaseHTTPResponse:
        """An order of one piece, or its refusal."""
        return self.send("POST", "/orders/", _order_of(product_id, 1, "tok_success"), **{"Idempotency-Key": key})

    def settled(self, order_id: str) -> Any:
        """The order once it is no longer pending."""

        def look() -> Any:
            order = self.ask("GET", f"/orders/{order_id}")
            return order if order["status"] != "pending" else None

        return until(look)


def _order_of(product_id: str, quantity: int, payment_method: str) -> dict[str, Any]:
    return {"lines": [{"product_id": product_id, "quantity": quantity}], "payment_method": payment_method}


@contextmanager
def installed(folder: Path) -> Iterator[Stack]:
    """A whole installation that runs for as long as the block does."""
    running = Stack(folder / "state", standard_ports=False)
    (folder / FAULTS).mkdir()
    running.installation.environment = {
        **os.environ,
        # Its programs can be made to die at any point of their work: see chassis/base/failpoints.py.
        FAULTS_VARIABLE: str(folder / FAULTS),
        # What a killed process had begun to send is another's soon: the mail server here answers at once.
        "SOUK_ATTEMPT_SECONDS": str(ATTEMPT_SECONDS),
        # A test is faster than any customer.
        "SOUK_RATE_LIMITS": json.dumps(dict.fromkeys(("enter", "anonymous", "token", "partner"), 1_000_000)),
        "SOUK_MAX_PER_HOUR": json.dumps(dict.fromkeys(("email", "sms", "push"), 1_000_000)),
    }
    running.up()
    try:
        yield running
    finally:
        running.down(wipe=True)


def planned(folder: Path, **replicas: int) -> Stack:
    """An installation with ports, of which nothing runs."""
    stack = Stack(folder / "state", progress=Progress())
    stack.state.make()
    stack.installation.replicas = replicas
    names = [name for server in stack.servers.values() for name in server.ports]
    stack.installation.ports = {name: port for port, name in enumerate([*names, *ports_of(replicas)], 20_000)}
    return stack


def newcomer(stack: Stack) -> Callable[[], Person]:
    """Registers somebody new and logs them in."""
    return lambda: Person(stack.gateway_url).enter()


def employed(stack: Stack, role: str = "staff") -> Person:
    """Somebody of the staff, or an admin, made so by the operator's command."""
    somebody = Person(stack.gateway_url).enter()
    command, environment = stack.services.one_shot(
        "users", "services.users.commands", "staff", "--email", somebody.email, "--role", role
    )
    subprocess.run(command, env=environment, cwd=ROOT, check=True, timeout=DEADLINE_SECONDS)
    return somebody.log_in()


def catalogue_of(stack: Stack, staff: Person | None = None) -> Callable[[int], str]:
    """Puts so many pieces of a new product on sale; gives its id."""
    seller = staff or employed(stack)

    def sell(stock_quantity: int) -> str:
        made: str = seller.ask("POST", "/products/", a_product(stock_quantity=stock_quantity))["id"]
        return made

    return sell


def signing_key(stack: Stack) -> tuple[str, str]:
    """Id and secret of the key that signs access tokens."""
    keys = json.loads(stack.services.keys.file("users").read_text())["jwt_keys"]
    key_id, key = next(iter(keys.items()))
    return key_id, key["material"]


def edge_is_whole(stack: Stack) -> bool:
    """Whether the edge has a healthy target of every service: it learns of one that is back a moment later."""
    admin = f"http://127.0.0.1:{stack.installation.ports['gateway-admin']}"
    try:
        found = [_pool.request("GET", f"{admin}/upstreams/{name}/health").json()["data"] for name in SERVICES]
    except urllib3.exceptions.HTTPError:
        return False
    return all(any(target["health"] == "HEALTHY" for target in targets) for targets in found)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    server_url("POSTGRES")  # Says what to do when the tests were not started by ./souk test.
    with installed(tmp_path_factory.mktemp("installation")) as running:
        yield running


@pytest.fixture
def person(stack: Stack) -> Callable[[], Person]:
    return newcomer(stack)


@pytest.fixture
def kill(stack: Stack) -> Callable[[str], None]:
    """Kills a program, and returns when the supervisor has it running again and it is ready."""

    def kill_and_wait(program: str) -> None:
        pid = stack.supervisor.statuses()[program].pid
        os.kill(pid, signal.SIGKILL)
        until(lambda: stack.supervisor.statuses()[program].pid not in (0, pid))
        stack.wait_ready(program)
        until(lambda: edge_is_whole(stack))

    return kill_and_wait


@pytest.fixture(scope="session")
def staff(stack: Stack) -> Person:
    return employed(stack)


@pytest.fixture(scope="session")
def admin(stack: Stack) -> Person:
    return employed(stack, "admin")


@pytest.fixture
def product(stack: Stack, staff: Person) -> Callable[[int], str]:
    return catalogue_of(stack, staff)
