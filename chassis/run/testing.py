"""Services in one process for tests: real stores and handlers, an in-memory broker.

`System` moves messages and tasks from the outboxes to their handlers, in order, through the same code as a worker.
"""

from collections import deque
from collections.abc import Sequence
from uuid import UUID

from chassis.messaging.consumer import DeadLetter, Retry
from chassis.messaging.envelope import Envelope
from chassis.messaging.relay import TASK_PREFIX, Relay
from chassis.run import worker
from chassis.run.service import Service
from chassis.security import tokens


class System:
    """Services that exchange messages. `sent` holds every envelope so far, tasks included, oldest first."""

    def __init__(self, services: Sequence[Service]) -> None:
        self.services = services
        self.sent: list[Envelope] = []
        self.dead_letters: list[tuple[str, Envelope, str]] = []
        self.retried: list[tuple[str, Envelope]] = []
        self.in_flight: deque[tuple[Service, Envelope]] = deque()
        """Deliveries: the service, and what it receives."""

    def drain(self) -> None:
        """Send and handle until every outbox is empty. What is to be retried waits for `redrain`."""
        while self.collect():
            while self.in_flight:
                self.deliver(*self.in_flight.popleft())

    def collect(self, *services: Service) -> int:
        """Put what is in the outboxes of these services, or of all, in flight; gives the number."""
        return sum(self._collect(service) for service in services or self.services)

    def redrain(self) -> None:
        """Retry, then drain."""
        waiting, self.retried = self.retried, []
        for name, envelope in waiting:
            self.deliver(next(service for service in self.services if service.name == name), envelope)
        self.drain()

    def deliver(self, service: Service, envelope: Envelope) -> None:
        """Deliver `envelope` to `service` as its worker would receive it."""
        if envelope.type.startswith(TASK_PREFIX):
            assert service.celery is not None
            service.celery.run(envelope.type.removeprefix(TASK_PREFIX), UUID(envelope.subject))
            return
        verdict = worker.receive(service, envelope.to_json(), {})
        match verdict:
            case DeadLetter(reason):
                self.dead_letters.append((service.name, envelope, reason))
            case Retry():
                self.retried.append((service.name, envelope))

    def _collect(self, service: Service) -> int:
        return Relay(service.store.source, lambda envelope: self._route(service, envelope)).send_batch()

    def _route(self, sender: Service, envelope: Envelope) -> None:
        self.sent.append(envelope)
        if envelope.type.startswith(TASK_PREFIX):
            self.in_flight.append((sender, envelope))
            return
        for service in self.services:
            if service.handlers is not None and envelope.type in service.handlers.by_type:
                self.in_flight.append((service, envelope))


def bearer(service: Service, user_id: UUID, *roles: str) -> dict[str, str]:
    """The headers of a request by this user; a customer by default."""
    token = tokens.sign(user_id, roles or ["customer"], service.settings).text
    return {"Authorization": f"Bearer {token}"}
