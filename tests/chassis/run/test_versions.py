"""A release that renames a field, beside one that does not know it: no message under way is lost or becomes a dead letter."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from queue import Queue as Received
from threading import Thread
from typing import Any
from uuid import UUID, uuid4

import mongoengine
import pytest
from sqlalchemy import text

from chassis.base import clock
from chassis.messaging import broker
from chassis.messaging.consumer import Consumer, DeadLetter, Delivery, Retry, Verdict
from chassis.messaging.dead_letters import DeadLetterQueue
from chassis.messaging.envelope import Envelope
from chassis.messaging.handlers import Handlers
from chassis.messaging.message import REGISTRY, Message
from chassis.messaging.publisher import Outgoing, Publisher, points_of
from chassis.messaging.relay import Relay
from chassis.messaging.upcasters import added, changed, each, removed, renamed
from chassis.run import worker
from chassis.run.service import Service
from chassis.storage import mongo, outbox
from chassis.storage.mongo import DocumentSource
from chassis.storage.postgres_store import PostgresStore
from tests.broker import DEADLINE_SECONDS
from tests.chassis.support import chassis_service
from tests.conftest import server_url

Release = Callable[[str], type[Message]]


def first(type_: str) -> type[Message]:
    @dataclass(frozen=True)
    class Greeted(Message, type=type_):
        greeting_id: UUID
        title: str

    return Greeted


def second(type_: str) -> type[Message]:
    @dataclass(frozen=True)
    class Greeted(Message, type=type_, upcasters=(renamed(title="name"),)):
        greeting_id: UUID
        name: str

    return Greeted


class Deployment:
    """A service of the release that was deployed last, with a queue on a real broker."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.type = f"{service.name}.greeted"
        self.received: Received[Message] = Received()
        self.verdicts: Received[Verdict] = Received()
        broker.declare(server_url("BROKER"), service.name, [self.type])

    def deploy(self, release: Release) -> type[Message]:
        REGISTRY.pop(self.type, None)
        message = release(self.type)
        self.service.handlers = Handlers(self.service.name)
        self.service.handlers.on(message)(self.received.put)
        return message

    @contextmanager
    def working(self) -> Iterator[None]:
        consumer = Consumer(server_url("BROKER"), self.service.name, [self.type], self._handle)
        thread = Thread(target=consumer.run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            consumer.should_stop = True
            thread.join(DEADLINE_SECONDS)
            assert not thread.is_alive()

    def _handle(self, deliveries: Sequence[Delivery]) -> Sequence[Verdict] | None:
        verdicts = worker.receive_all(self.service, deliveries)
        for verdict in verdicts or ():
            self.verdicts.put(verdict)
        return verdicts

    @property
    def dead_letters(self) -> DeadLetterQueue:
        name = self.service.name
        return DeadLetterQueue(server_url("BROKER"), broker.dead_letter_queue(name).name, name)


@pytest.fixture
def deployment(name: str, make_database: Callable[[str], str]) -> Iterator[Deployment]:
    service = chassis_service(name.replace("-", "_"), make_database, {})
    service.name = name
    made = Deployment(service)
    yield made
    REGISTRY.pop(made.type, None)


def body_of(message: Message, has_version: bool) -> bytes:
    content = json.loads(Envelope.of(message, "test").to_json())
    if not has_version:
        del content["dataversion"]
    return json.dumps(content).encode()


def strip_versions(service: Service) -> None:
    """Leave what is unsent as releases wrote it before messages had versions."""
    assert isinstance(service.store, PostgresStore)
    with service.store.engine.begin() as connection:
        connection.execute(text("UPDATE outbox SET meta = meta - 'schema'"))
    collection().update_many({}, {"$unset": {"unsent.$[].meta.schema": 1}})


def collection() -> Any:
    return mongoengine.get_db()["greetings"]


@pytest.mark.parametrize("has_versions", [True, False])
def test_a_renamed_field_loses_no_message_under_way(
    deployment: Deployment, publisher: Publisher, products: Service, has_versions: bool
) -> None:
    service, documents = deployment.service, DocumentSource(["greetings"], deployment.service.name)
    old = deployment.deploy(first)
    in_queue, in_outbox, in_document, dead = (old(uuid4(), name) for name in ("Amal", "Björn", "Chen", "Dara"))  # type: ignore[call-arg]
    publisher.send(Outgoing(old.type, body_of(in_queue, has_versions), points_of(old.type), broker.EXCHANGE.name))
    with service.store.transaction():
        outbox.emit(in_outbox)
    collection().insert_one({"unsent": [mongo.unsent(in_document)]})
    publisher.send_to(broker.dead_letter_queue(service.name), body_of(dead, has_versions), {})
    if not has_versions:
        strip_versions(service)

    new = deployment.deploy(second)
    with deployment.working():
        for source in (service.store.source, documents):
            assert Relay(source, worker.sender(service, publisher)).send_batch() == 1
        assert len(deployment.dead_letters.replay(None, dry_run=False)) == 1
        arrived = [deployment.received.get(timeout=DEADLINE_SECONDS) for _ in range(4)]
    assert {type(message) for message in arrived} == {new}
    assert sorted(message.name for message in arrived) == ["Amal", "Björn", "Chen", "Dara"]  # type: ignore[attr-defined]
    assert deployment.dead_letters.letters() == []


def test_a_message_of_a_newer_release_waits_until_an_instance_knows_it(
    deployment: Deployment, publisher: Publisher
) -> None:
    new = deployment.deploy(second)(uuid4(), "Amal")  # type: ignore[call-arg]
    deployment.deploy(first)
    with deployment.working():
        publisher.publish(Envelope.of(new, "test"))
        assert deployment.verdicts.get(timeout=DEADLINE_SECONDS) == Retry(0)
    assert deployment.received.empty()
    deployment.deploy(second)
    with deployment.working():
        arrived = deployment.received.get(timeout=DEADLINE_SECONDS)
    assert arrived.data() == new.data()
    assert deployment.dead_letters.letters() == []


def test_a_message_of_a_newer_release_waits_however_long_the_deployment_takes(deployment: Deployment) -> None:
    new = Envelope.of(deployment.deploy(second)(uuid4(), "Amal"), "test")  # type: ignore[call-arg]
    deployment.deploy(first)
    last = {broker.ATTEMPT_HEADER: len(broker.DELAYS_MILLISECONDS)}
    verdict = worker.receive(deployment.service, new.to_json(), last)
    assert isinstance(verdict, Retry)
    assert broker.DELAYS_MILLISECONDS[verdict.attempt] <= 5_000


@pytest.mark.parametrize("data", [{}, {"greeting_id": "x", "title": "Amal"}, {"greeting_id": str(uuid4()), "title": 1}])
def test_what_does_not_fit_its_version_is_a_dead_letter(deployment: Deployment, data: dict[str, Any]) -> None:
    deployment.deploy(second)
    body = Envelope(uuid4(), "test", deployment.type, "x", clock.now(), data).to_json()
    verdict = worker.receive(deployment.service, body, {})
    assert isinstance(verdict, DeadLetter)
    assert f"version 1 of {deployment.type}" in verdict.reason


def test_upcasters_leave_alone_what_is_new_already() -> None:
    old: dict[str, Any] = {"total": "12.50", "gone": 1, "lines": [{"id": 1}]}
    new = {"amount": 1250, "currency": "EUR", "lines": [{"id": 1, "category": "unknown"}]}
    steps = (
        renamed(total="amount"),
        changed("amount", lambda amount: amount if isinstance(amount, int) else int(Decimal(amount) * 100)),
        removed("gone"),
        added(currency="EUR"),
        each("lines", added(category="unknown")),
    )
    for data in (old, new):
        for step in steps:
            data = step(data)
        assert data == new
