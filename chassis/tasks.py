"""Celery for the slow work with third parties. Tasks are entered through the outbox only, never with `.delay()`.

A task gets the id of its row, is idempotent by it, and opens its own transactions: none is open while a third party thinks.
"""

from collections.abc import Callable
from uuid import UUID

from celery import Celery, Task
from structlog import get_logger

from chassis import broker, faults, store, telemetry
from chassis.messages import Envelope
from chassis.outbox import TASK_PREFIX

log = get_logger(__name__)

RETRY_CAP_SECONDS = 60


class Tasks:
    """The Celery tasks of one service and the queue they run from."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.queue = f"{service}.tasks"
        self.functions: dict[str, Callable[[UUID], None]] = {}
        self.app = Celery(service)
        self.app.conf.update(
            # Celery's own queues stay classic: on quorum queues its delayed retry can form a dead-letter cycle that the
            # broker drops (celery issue 9867). Durable and acknowledged late, they lose nothing either.
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
            broker_heartbeat=10,
            task_publish_retry=False,
        )

    def task(self, retries: int = 8) -> Callable[[Callable[[UUID], None]], Callable[[UUID], None]]:
        """Register a function of a row's id as a task, tried again up to `retries` times with full-jitter back-off."""

        def register(function: Callable[[UUID], None]) -> Callable[[UUID], None]:
            name = f"{self.service}.{function.__name__}"
            self.functions[name] = function

            @self.app.task(
                name=name,
                bind=True,
                autoretry_for=(Exception,),
                max_retries=retries,
                retry_backoff=True,
                retry_backoff_max=RETRY_CAP_SECONDS,
                retry_jitter=True,
            )
            def run(task: Task, row_id: str) -> None:
                with telemetry.trace(task.request.get("traceparent") or "", work=name, row_id=row_id):
                    faults.point("begin")
                    self.run(name, UUID(row_id))
                    # Acknowledged late: Celery does it when this has returned.
                    faults.point("acknowledge")

            return function

        return register

    def bind(self, store: store.Store, broker_url: str) -> None:
        self.store = store
        self.app.conf.broker_url = broker_url
        if broker.is_amqp(broker_url):
            self.app.conf.broker_transport_options = {"confirm_publish": True}

    def run(self, name: str, row_id: UUID) -> None:
        """Do the task `name` here and now."""
        with store.active(self.store):
            self.functions[name](row_id)

    def send(self, envelope: Envelope) -> None:
        """Publish an outbox row as a task; its subject is the row's id. Raises when the broker does not confirm."""
        name = envelope.type.removeprefix(TASK_PREFIX)
        faults.point(f"send {name}")
        self.app.send_task(
            name,
            args=[envelope.subject],
            task_id=str(envelope.id),
            queue=self.queue,
            headers={"traceparent": envelope.traceparent},
        )
        faults.point(f"sent {name}")
