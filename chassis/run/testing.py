"""Services in one process for tests: real stores and handlers, an in-memory broker."""

from collections import deque
from collections.abc import Iterator, Sequence
from uuid import UUID

from chassis.messaging.consumer import DeadLetter, Delivery, Retry, Verdict
from chassis.messaging.envelope import Envelope
from chassis.messaging.relay import TASK_PREFIX, Relay
from chassis.run import worker
from chassis.run.service import Service
from chassis.security import tokens


class System:
    """`sent`: every envelope, tasks included, oldest first."""

    def __init__(self, services: Sequence[Service]) -> None:
        self.services = services
        self.sent: list[Envelope] = []
        self.dead_letters: list[tuple[str, Envelope, str]] = []
        self.retried: list[tuple[str, Envelope]] = []
        self.in_flight: deque[tuple[Service, Envelope]] = deque()
        """With the receiving service."""

    def drain(self) -> None:
        """Until every outbox is empty; retries wait for `redrain`."""
        while self.collect():
            while self.in_flight:
                self.deliver(*self.in_flight.popleft())

    def collect(self, *services: Service) -> int:
        """Returns the number put in flight."""
        return sum(self._collect(service) for service in services or self.services)

    def redrain(self) -> None:
        waiting, self.retried = self.retried, []
        for name, envelope in waiting:
            self.deliver(next(service for service in self.services if service.name == name), envelope)
        self.drain()

    def deliver(self, service: Service, envelope: Envelope) -> None:
        if envelope.type.startswith(TASK_PREFIX):
            assert service.celery is not None
            service.celery.run(envelope.type.removeprefix(TASK_PREFIX), UUID(envelope.subject))
            return
        self._settle(service, envelope, worker.receive(service, envelope.to_json(), {}))

    def deliver_together(self, service: Service, envelopes: Sequence[Envelope]) -> None:
        """Messages, as a worker takes those that wait."""
        verdicts = worker.receive_all(service, [Delivery(envelope.to_json(), {}) for envelope in envelopes])
        if verdicts is None:
            for envelope in envelopes:
                self.deliver(service, envelope)
        else:
            for envelope, verdict in zip(envelopes, verdicts, strict=True):
                self._settle(service, envelope, verdict)

    def _settle(self, service: Service, envelope: Envelope, verdict: Verdict) -> None:
        match verdict:
            case DeadLetter(reason):
                self.dead_letters.append((service.name, envelope, reason))
            case Retry():
                self.retried.append((service.name, envelope))

    def _collect(self, service: Service) -> int:
        def send(envelopes: Sequence[Envelope]) -> Iterator[Envelope]:
            for envelope in envelopes:
                self._route(service, envelope)
                yield envelope

        return Relay(service.store.source, send).send_batch()

    def _route(self, sender: Service, envelope: Envelope) -> None:
        self.sent.append(envelope)
        if envelope.type.startswith(TASK_PREFIX):
            self.in_flight.append((sender, envelope))
            return
        for service in self.services:
            if service.handlers is not None and envelope.type in service.handlers.by_type:
                self.in_flight.append((service, envelope))


def bearer(service: Service, user_id: UUID, *roles: str) -> dict[str, str]:
    """Headers; the role defaults to customer."""
    token = tokens.sign(user_id, roles or ["customer"], service.settings).text
    return {"Authorization": f"Bearer {token}"}
