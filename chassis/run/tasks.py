"""Celery for slow work with third parties. Tasks are sent through the outbox, never with `.delay()`.

A task is idempotent by row id, and holds no transaction during a third party's call.
"""

import random
from collections.abc import Callable
from uuid import UUID

from celery import Celery, Task
from celery.exceptions import Retry
from kombu import Queue
from kombu.serialization import dumps
from structlog import get_logger

from chassis.base import failpoints, telemetry
from chassis.messaging import broker
from chassis.messaging.envelope import Envelope
from chassis.messaging.publisher import CONFIRM_TIMEOUT_SECONDS, Outgoing
from chassis.messaging.relay import TASK_PREFIX
from chassis.storage import store

log = get_logger(__name__)

RETRY_CAP_SECONDS = 60


class Tasks:
    """One service's Celery tasks."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.queue = f"{service}.celery"
        self.functions: dict[str, Callable[[UUID], None]] = {}
        self.app = Celery(service)
        self.app.conf.update(
            # A classic queue: on quorum queues delayed retries can form a dead-letter cycle (celery issue 9867).
            task_default_queue=self.queue,
            task_acks_late=True,
            task_reject_on_worker_lost=True,
            task_ignore_result=True,
            task_store_errors_even_if_ignored=False,
            worker_prefetch_multiplier=1,
            worker_hijack_root_logger=False,
            worker_enable_remote_control=False,
            worker_send_task_events=False,
            worker_cancel_long_running_tasks_on_connection_loss=False,
            broker_connection_retry_on_startup=True,
            # The broker may be unavailable for hours.
            broker_connection_max_retries=None,
            broker_heartbeat=10,
            task_publish_retry=False,
        )

    def task(
        self, retries: int = 8, on_exhausted: Callable[[UUID, Exception], None] | None = None
    ) -> Callable[[Callable[[UUID], None]], Callable[[UUID], None]]:
        """on_exhausted: records the failure, in a transaction; not called when our database was unavailable: a sweeper retries."""

        def register(function: Callable[[UUID], None]) -> Callable[[UUID], None]:
            name = f"{self.service}.{function.__name__}"
            self.functions[name] = function

            @self.app.task(
                name=name,
                bind=True,
                max_retries=retries,
            )
            def run(task: Task, row_id: str) -> None:
                with telemetry.trace(task.request.get("traceparent") or "", work=name, row_id=row_id):
                    failpoints.point("begin")
                    try:
                        self.run(name, UUID(row_id))
                    except Exception as error:
                        is_last = task.request.retries >= retries
                        telemetry.TASKS_HANDLED.labels(name, "exhausted" if is_last else "retried").inc()
                        if is_last:
                            log.error("task exhausted", attempts=retries + 1, exc_info=error)
                            self._exhaust(on_exhausted, UUID(row_id), error)
                            raise
                        raise _retry(task, error) from error
                    telemetry.TASKS_HANDLED.labels(name, "done").inc()
                    # Celery acknowledges on return.
                    failpoints.point("acknowledge")

            return function

        return register

    def _exhaust(self, on_exhausted: Callable[[UUID, Exception], None] | None, row_id: UUID, error: Exception) -> None:
        if on_exhausted is None or isinstance(error, self.store.unavailable):
            return
        with store.active(self.store), store.transaction():
            on_exhausted(row_id, error)

    def bind(self, store: store.Store, broker_url: str) -> None:
        self.store = store
        self.app.conf.broker_url = broker_url
        # Unknown tasks become dead letters.
        arguments = {
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": broker.dead_letter_queue(self.service).name,
        }
        is_amqp = broker.is_amqp(broker_url)
        self.app.conf.task_queues = [Queue(self.queue, durable=True, queue_arguments=arguments if is_amqp else None)]
        self.app.conf.broker_transport_options = broker.transport_options(broker_url)

    def run(self, name: str, row_id: UUID) -> None:
        with store.active(self.store):
            self.functions[name](row_id)

    def outgoing(self, envelope: Envelope) -> Outgoing:
        """The task's message, as Celery writes it."""
        name = envelope.type.removeprefix(TASK_PREFIX)
        made = self.app.amqp.as_task_v2(str(envelope.id), name, args=[envelope.subject], ignore_result=True)
        content_type, _, body = dumps(made.body, serializer="json")
        return Outgoing(
            self.queue,
            body.encode(),
            (f"send {name}", f"sent {name}"),
            headers={**made.headers, "traceparent": envelope.traceparent},
            content_type=content_type,
            properties=made.properties,
            queue=self.app.conf.task_queues[0],
        )


def _retry(task: Task, error: Exception) -> Retry:
    """The exception ends this run."""
    longest = min(2.0**task.request.retries, RETRY_CAP_SECONDS)
    # Celery's jitter begins at 0, too soon for a restarting server.
    wait = random.uniform(longest / 2, longest)  # noqa: S311 - spreads load, guards nothing
    failpoints.point("retry")
    retry: Retry = task.retry(exc=error, countdown=wait, throw=False, confirm_timeout=CONFIRM_TIMEOUT_SECONDS)
    failpoints.point("retried")
    return retry
