"""A notifications service under test, with mail servers and browsers."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiosmtpd.controller import Controller
from sqlalchemy import select, text

from chassis.base import clock
from chassis.messaging import broker
from chassis.messaging.envelope import Envelope
from chassis.messaging.message import Message
from chassis.run.service import Service
from chassis.run.testing import System, bearer
from chassis.storage import postgres, store
from contracts.orders import Line, OrderCancelled, OrderConfirmed, OrderDelivered, OrderShipped
from contracts.reasons import Note, Reason
from contracts.users import EmailVerified, UserRegistered
from services.notifications.channels import providers
from services.notifications.channels.message import NotTaken, Unknown
from services.notifications.models import Contact, Notification
from services.notifications.settings import Settings
from services.notifications.sweeper import sweep
from tests.conftest import server_url
from tests.notifications.parties import Browser, PushService
from tests.ports import free_port

MONDAY = datetime(2025, 3, 3, 9, tzinfo=UTC)
AMAL = UUID("0a7a1000-0000-4000-8000-000000000001")
ADDRESS = "amal@example.com"
LINES = [Line(uuid4(), "Copper teapot", 2, 45_00), Line(uuid4(), "Saffron, 1 g", 1, 12_50)]


def registered(user_id: UUID = AMAL, email: str = ADDRESS, first_name: str = "Amal") -> UserRegistered:
    return UserRegistered(user_id, email, "amal", first_name, "Haddad")


def verified(user_id: UUID = AMAL, email: str = ADDRESS) -> EmailVerified:
    return EmailVerified(user_id, email)


def confirmed(order_id: UUID | None = None, lines: list[Line] = LINES, user_id: UUID = AMAL) -> OrderConfirmed:
    total = sum(line.quantity * line.unit_amount for line in lines)
    return OrderConfirmed(order_id or uuid4(), user_id, lines, total, "EUR")


def cancelled(reason: Reason = Reason.CANCELLED_BY_SHOP, note: Note | None = None) -> OrderCancelled:
    return OrderCancelled(uuid4(), AMAL, reason, note)


def shipped(order_id: UUID | None = None) -> OrderShipped:
    return OrderShipped(order_id or uuid4(), AMAL)


def delivered(order_id: UUID | None = None) -> OrderDelivered:
    return OrderDelivered(order_id or uuid4(), AMAL)


class Desk:
    """Drives the notifications service as other services and its own worker do."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.system = System([service])

    def handle(self, *messages: Message, at: datetime = MONDAY) -> None:
        """Deliver messages that occurred at `at`, and run what follows."""
        for message in messages:
            self.receive(envelope(message, at))

    def receive(self, envelope: Envelope) -> None:
        self.system.deliver(self.service, envelope)
        self.system.drain()

    def deliver(self, notification_id: UUID) -> None:
        """Run the delivery task."""
        assert self.service.celery is not None
        self.service.celery.run("notifications.deliver", notification_id)

    def handle_earlier(self, message: Message) -> None:
        """Deliver a message that occurred an hour before the others."""
        self.handle(message, at=MONDAY - timedelta(hours=1))

    def fail(self, *messages: Message) -> None:
        """Handle messages, of which the last leads to a failed delivery."""
        *before, last = messages
        self.handle(*before)
        with pytest.raises((NotTaken, Unknown)):
            self.handle(last)

    def fail_to_deliver(self, notification_id: UUID) -> None:
        with pytest.raises((NotTaken, Unknown)):
            self.deliver(notification_id)

    def sweep(self, after: timedelta) -> None:
        """Run the sweeper as it would run `after` from now, and what follows."""
        with self.transaction():
            sweep(clock.now() + after)
        self.system.drain()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with store.active(self.service.store), store.transaction():
            yield

    def notifications(self) -> list[Notification]:
        """Oldest first."""
        with self.transaction():
            return list(postgres.session().scalars(select(Notification).order_by(Notification.created_at)))

    def contacts(self) -> list[Contact]:
        with self.transaction():
            return list(postgres.session().scalars(select(Contact)))

    def change(self, assignment: str) -> None:
        """Put every notification into a state that takes days or a crash to reach."""
        with self.transaction():
            postgres.session().execute(text(f"UPDATE notifications SET {assignment}"))


def envelope(message: Message, at: datetime = MONDAY) -> Envelope:
    return replace(Envelope.of(message, "tests"), time=at)


@pytest.fixture
def desk(notifications: Service) -> Desk:
    return Desk(notifications)


@pytest.fixture
def settings() -> Iterator[Callable[..., None]]:
    """Changes settings until the test ends."""
    before = Settings.current()

    def change(**values: Any) -> None:
        Settings.use(**Settings.current().model_dump() | values)

    yield change
    Settings.use(**before.model_dump())
    providers.reset_unavailable()


@pytest.fixture
def smtp_url(settings: Callable[..., None]) -> Callable[[str], None]:
    """Sets the mail server until the test ends."""
    return lambda url: settings(smtp_url=url, smtp_timeout_seconds=5)


@pytest.fixture
def mail_server() -> Iterator[Callable[..., int]]:
    """Starts a mail server with aiosmtpd's `handler` and options; returns its port."""
    running: list[Controller] = []

    def start(handler: Any, **options: Any) -> int:
        port = free_port()
        controller = Controller(handler, "127.0.0.1", port, **options)
        controller.start()
        running.append(controller)
        return port

    yield start
    for controller in running:
        controller.stop()


@pytest.fixture
def broker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of the broker with the service's empty queues. One test at a time: parallel workers share it."""
    url = server_url("BROKER")
    with (tmp_path_factory.getbasetemp().parent / "queues").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with broker.connect(url) as connection:
            broker.declare(url, "notifications", [])
            for queue in ("notifications", "notifications.dead"):
                connection.default_channel.queue_purge(queue)
            connection.default_channel.queue_delete("notifications.celery")
        yield url


@pytest.fixture
def http(client, notifications):
    return client(notifications)


@pytest.fixture
def owner(notifications, desk):
    desk.handle(registered(), verified())
    return bearer(notifications, AMAL)


@pytest.fixture(scope="session")
def push_address(serve):
    service = PushService()
    return service, serve(service.app())


@pytest.fixture
def push_service(push_address, http):
    service, _ = push_address
    service.public_key = http.get("/notifications/push/key").json["key"]
    service.taken.clear()
    return service


@pytest.fixture
def browser(push_address, http, owner, push_service):
    """Registers a new browser of Amal's, by default at the push service."""

    def opened(address=push_address[1]):
        new = Browser(address)
        response = http.post(f"/notifications/{AMAL}/devices", json=new.subscription(), headers=owner)
        assert response.status_code == 201
        new.id = response.json["id"]
        return new

    return opened
