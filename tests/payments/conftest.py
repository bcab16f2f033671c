"""Shared by the payments tests: the orders service's side of the conversation, the bank, and staff."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import urllib3
from flask.testing import FlaskClient
from sqlalchemy import text, update
from werkzeug.test import run_wsgi_app

from chassis.base import clock
from chassis.messaging.envelope import Envelope
from chassis.messaging.message import Message
from chassis.messaging.relay import TASK_PREFIX
from chassis.run.service import Service
from chassis.run.testing import System, bearer
from chassis.storage import postgres, store
from contracts.payments import AuthorizePayment
from devservers.bank import create_app
from services.payments import sweeper
from services.payments.models import Payment
from services.payments.settings import Settings


class Orders:
    """Sends commands as the orders service does, and collects the replies."""

    def __init__(self, payments: Service, system: System) -> None:
        self.payments = payments
        self.system = system

    def authorization(self, order_id: UUID, method: str = "tok_success", amount: int = 1250, **changes: Any) -> Message:
        terms = {"user_id": uuid4(), "currency": "EUR"} | changes
        return AuthorizePayment(order_id, amount=amount, payment_method=method, **terms)

    def send(self, *messages: Message) -> None:
        """Deliver each message, and everything that follows from it before the next one."""
        for message in messages:
            self.deliver(message)
            self.system.drain()

    def deliver(self, message: Message) -> None:
        """Deliver the message and leave what follows from it in the outbox."""
        self.system.deliver(self.payments, Envelope.of(message, "orders"))

    def age(self, by: timedelta) -> None:
        """Payments were requested of the provider that much earlier."""
        with self.payments.store.transaction():
            aged = update(Payment).values(requested_at=Payment.requested_at - by)
            postgres.session().execute(aged)

    @property
    def payment_ids(self) -> list[str]:
        """Of the tasks, in order."""
        return [sent.subject for sent in self.system.sent if sent.type.startswith(TASK_PREFIX)]

    @property
    def replies(self) -> list[Message]:
        """Oldest first."""
        return [sent.message() for sent in self.system.sent if not sent.type.startswith(TASK_PREFIX)]

    @property
    def reply_types(self) -> list[str]:
        return [message.type for message in self.replies]


class Bank:
    """The bank over HTTP."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._http = urllib3.PoolManager(headers={"Authorization": "Bearer sandbox-key"}, timeout=5)

    def charges(self, payment_id: UUID | str) -> list[dict[str, Any]]:
        response = self._http.request("GET", f"{self.address}/charges?reference={payment_id}")
        return list(response.json()["items"])

    def do(self, path: str, key: str | None = None, **body: Any) -> None:
        """Change a charge without the payments service."""
        headers = {"Authorization": "Bearer sandbox-key", "Idempotency-Key": key or str(uuid4())}
        response = self._http.request("POST", f"{self.address}/charges{path}", json=body, headers=headers)
        assert response.status in (200, 201)

    def dashboard(self, payment_id: UUID | str, action: str, amount: int | str = "", is_possible: bool = True) -> None:
        """Do something in the merchant's dashboard: the payments service learns it by webhook or look-up only.

        `is_possible`: False if the bank may refuse it.
        """
        (charge,) = self.charges(payment_id)
        response = urllib3.PoolManager(timeout=5, retries=False).request(
            "POST",
            f"{self.address}/dashboard/{charge['id']}",
            headers=urllib3.make_headers(basic_auth="merchant:sandbox-key"),
            fields={"action": action, "amount": str(amount)},
            encode_multipart=False,
        )
        assert response.status == 303 or (response.status == 409 and not is_possible), response.data


class Interposed:
    """A bank whose responses pass through `on_response` on their way to us."""

    def __init__(self, bank: Any) -> None:
        self._bank = bank
        self.settings: dict[str, str] = {}
        self.on_response: Callable[[str, str, tuple[int, bytes]], tuple[int, bytes]] = lambda method, path, sent: sent

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        body, status, _ = run_wsgi_app(self._bank, environ, buffered=True)
        sent = int(status.partition(" ")[0]), b"".join(body)
        code, data = self.on_response(environ["REQUEST_METHOD"], environ["PATH_INFO"], sent)
        start_response(f"{code} Interposed", [("Content-Type", "application/json")])
        return [data]


class Staff:
    """Reads payments over the API."""

    def __init__(self, payments: Service, client: FlaskClient) -> None:
        self._headers = bearer(payments, uuid4(), "staff")
        self._client = client

    def get(self, payment_id: UUID) -> dict[str, Any]:
        response = self._client.get(f"/payments/{payment_id}", headers=self._headers)
        assert response.status_code == 200
        return dict(response.json or {})


@pytest.fixture
def orders(payments: Service, system: Callable[..., System]) -> Orders:
    return Orders(payments, system(payments))


@pytest.fixture
def bank(bank_address: str) -> Bank:
    return Bank(bank_address)


@pytest.fixture
def interposed(serve: Callable[[Any], str]) -> Interposed:
    interposed = Interposed(create_app(None, "sandbox-key"))
    interposed.settings = {"sandbox_url": serve(interposed)}
    return interposed


@pytest.fixture
def staff(payments: Service, client: Callable[[Service], FlaskClient]) -> Staff:
    return Staff(payments, client(payments))


@pytest.fixture
def settings(payments: Service) -> Callable[..., AbstractContextManager[None]]:
    """Change settings temporarily: `with settings(provider_timeout_seconds=0.2): ...`"""
    before = Settings.current().model_dump()

    @contextmanager
    def changed(**changes: Any) -> Iterator[None]:
        Settings.use(**(before | changes))
        try:
            yield
        finally:
            Settings.use(**before)

    return changed


@pytest.fixture
def sweep(payments: Service) -> Callable[[float], int]:
    """Sweep as of so many seconds from now; returns how many tasks then wait in the outbox."""

    def run(seconds: float) -> int:
        with store.active(payments.store), payments.store.transaction():
            sweeper.sweep(clock.now() + timedelta(seconds=seconds))
            waiting = "SELECT count(*) FROM outbox WHERE sent_at IS NULL AND type LIKE 'task.payments.%'"
            return int(postgres.session().scalar(text(waiting)))

    return run
