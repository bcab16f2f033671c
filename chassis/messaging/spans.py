"""Spans of messages, by OpenTelemetry's conventions for RabbitMQ: https://opentelemetry.io/docs/specs/semconv/messaging/rabbitmq/

A message's context is that of the work that wrote it, so what handles it is that work's child, whoever sends it. Sending is a child
beside it, without children of its own: a relay that is killed loses only that.
"""

from uuid import UUID

from chassis.base import tracing
from chassis.base.tracing import Kind, Span
from chassis.messaging.envelope import Envelope

_OPERATIONS = {Kind.PRODUCER: "send", Kind.CONSUMER: "process"}


def begin(
    kind: Kind, what: str, destination: str, message_id: UUID | str, context: str, *attempt: object
) -> Span | None:
    """destination: exchange:routing key[:queue]. attempt: what tells this one from others of the same message."""
    if not tracing.is_on():
        return None
    operation = _OPERATIONS[kind]
    span = tracing.start(f"{operation} {what}", kind, context, tracing.repeatable_id(operation, message_id, *attempt))
    if span is not None:
        span.attributes = {
            "messaging.system": "rabbitmq",
            "messaging.operation.type": operation,
            "messaging.operation.name": operation,
            "messaging.destination.name": destination,
            "messaging.message.id": str(message_id),
        }
    return span


def sent(envelope: Envelope, name: str, destination: str) -> None:
    """From its writing to its confirm."""
    span = begin(Kind.PRODUCER, name, destination, envelope.id, envelope.traceparent) if envelope.traceparent else None
    if span is not None:
        span.started = int(envelope.time.timestamp() * 1_000_000_000)
        span.end()
