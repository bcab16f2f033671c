"""Services in one process for tests: real stores and handlers, a broker that is memory.

`System` moves what the outboxes hold to the listeners and tasks that want it, in order, until nothing moves. Deliveries
go through the same code as a worker's, so a message that fails is seen as it would be there.
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
    """Several services that exchange messages. `sent` holds every envelope so far, tasks included, oldest first."""

    def __init__(self, services: Sequence[Service]) -> None:
        self.services = services
        self.sent: list[Envelope] = []
        self.dead_letters: list[tuple[str, Envelope, str]] = []
        self.retried: list[tuple[str, Envelope]] = []
        self.moving: deque[tuple[Service, Envelope]] = deque()
        """Deliveries on their way: to whom, and what."""

    def drain(self) -> None:
        """Send and handle until every outbox is empty. A message to be retried waits for the next drain."""
        while self.collect():
            while self.moving:
                self.deliver(*self.moving.popleft())

    def collect(self, *services: Service) -> int:
        """Send what the outboxes of these hold, or of all: it is then on its way, and nobody has it yet. How many that were."""
        return sum(self._collect(service) for service in services or self.services)

    def redrain(self) -> None:
        """Deliver again what is to be retried, then drain."""
        waiting, self.retried = self.retried, []
        for name, envelope in waiting:
            self.deliver(next(service for service in self.services if service.name == name), envelope)
        self.drain()

    def deliver(self, service: Service, envelope: Envelope) -> None:
        """One delivery of `envelope` to `service`, as its worker would get it."""
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
            self.moving.append((sender, envelope))
            return
        for service in self.services:
            if service.handlers is not None and envelope.type in service.handlers.by_type:
                self.moving.append((service, envelope))


def bearer(service: Service, user_id: UUID, *roles: str) -> dict[str, str]:
    """The headers of a request by this user; a customer unless roles are named."""
    token = tokens.sign(user_id, roles or ["customer"], service.settings).text
    return {"Authorization": f"Bearer {token}"}
