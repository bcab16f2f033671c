"""Celery for slow work with third parties. Tasks are sent through the outbox, never with `.delay()`.

A task is idempotent by row id, and holds no transaction during a third party's call. One message carries the ids of several
rows.

    @tasks.task(locks=Payment)
    def advance(payment_id: UUID) -> Steps:
        payment = Payment.get_for_update(payment_id)      # in a transaction
        charge = yield lambda: provider.capture(payment)  # in none
        Payment.get_for_update(payment_id).record(charge) # in another one

Tasks of such steps share their transactions with those of the other rows, and call third parties side by side.
"""

import random
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from contextvars import copy_context
from functools import cached_property, partial
from inspect import isgeneratorfunction
from typing import Any, NoReturn, TypeVar
from uuid import UUID

from celery import Celery, Task
from celery.exceptions import Reject, Retry
from kombu.serialization import dumps
from structlog import get_logger

from chassis.base import failpoints, telemetry, tracing
from chassis.base.tracing import Kind, Span
from chassis.messaging import broker, spans
from chassis.messaging.broker import REPLAY_HEADER
from chassis.messaging.envelope import Envelope
from chassis.messaging.publisher import CONFIRM_TIMEOUT_SECONDS, Outgoing
from chassis.messaging.relay import TASK_PREFIX, TASK_ROWS
from chassis.storage import rows, store

log = get_logger(__name__)

RETRY_CAP_SECONDS = 60

FULL_DISK_SECONDS = 5.0

Steps = Generator[Callable[[], Any], Any, None]
F = TypeVar("F", bound=Callable[[UUID], Steps | None])
Exhausted = Callable[[UUID, Exception], None]

Origin = tuple[str, str, Span | None]
"""Traceparent and correlation id that a row's task came with, and the span of this run."""


class Tasks:
    """One service's Celery tasks."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.queue = f"{service}.celery"
        self.functions: dict[str, Callable[[UUID], Steps | None]] = {}
        self._locks: dict[str, type[Any] | None] = {}
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
        self, retries: int = 8, on_exhausted: Exhausted | None = None, locks: type[Any] | None = None
    ) -> Callable[[F], F]:
        """on_exhausted: records the failure, in a transaction; not called when our database was unavailable: a sweeper retries.

        locks: the model of the rows, which steps lock first.
        """

        def register(function: F) -> F:
            name = f"{self.service}.{function.__name__}"
            self.functions[name], self._locks[name] = function, locks

            @self.app.task(
                name=name,
                bind=True,
                max_retries=retries,
            )
            def run(task: Task, *row_ids: str) -> None:
                one = task.request.get("traceparent") or ""
                self._expect_space(name, len(row_ids))
                started = time.perf_counter()
                with tracing.trace(one, work=name):
                    failpoints.point("begin")
                    origins = self._origins(task, row_ids, one)
                    errors = self._errors(name, origins)
                    failed = "exhausted" if task.request.retries >= task.max_retries else "retried"
                    telemetry.consumed(self.queue, 1, started)
                    _record(name, origins, dict.fromkeys(errors, failed), started)
                    if errors:
                        self._retry(task, errors, origins, on_exhausted)
                    # Celery acknowledges on return.
                    failpoints.point("acknowledge")

            return function

        return register

    def _origins(self, task: Task, row_ids: Iterable[str], one: str) -> dict[UUID, Origin]:
        request = task.request
        traces, correlated = request.get("traceparents") or {}, request.get("correlation_ids") or {}
        attempt = request.retries, request.get(REPLAY_HEADER) or 0
        destination = f"{self.service}:{self.queue}"
        origins: dict[UUID, Origin] = {}
        for row_id in row_ids:
            trace = traces.get(row_id, one)
            span = spans.begin(Kind.CONSUMER, task.name, destination, request.id, trace, row_id, *attempt)
            origins[UUID(row_id)] = trace, correlated.get(row_id, ""), span
        return origins

    def _expect_space(self, name: str, count: int) -> None:
        """Back to the queue while the disk is full."""
        if self._is_full():
            telemetry.TASKS_HANDLED.labels(name, "held").inc(count)
            time.sleep(FULL_DISK_SECONDS)
            raise Reject("The disk is full.", requeue=True)

    def _retry(
        self,
        task: Task,
        errors: Mapping[UUID, Exception],
        origins: Mapping[UUID, Origin],
        on_exhausted: Exhausted | None,
    ) -> NoReturn:
        error = next(iter(errors.values()))
        if task.request.retries < task.max_retries:
            raise _retry(task, errors, error) from error
        for row_id, cause in errors.items():
            with tracing.trace(*origins[row_id], work=task.name, row_id=str(row_id)):
                log.error("task exhausted", attempts=task.request.retries + 1, exc_info=cause)
                self._exhaust(on_exhausted, row_id, cause)
        raise error

    def _exhaust(self, on_exhausted: Exhausted | None, row_id: UUID, error: Exception) -> None:
        if on_exhausted is None or isinstance(error, self.store.unavailable):
            return
        with store.active(self.store), store.transaction():
            on_exhausted(row_id, error)

    def bind(self, store: store.Store, broker_url: str, is_full: Callable[[], bool] = lambda: False) -> None:
        """is_full: whether the store's disk is."""
        self.store, self._is_full = store, is_full
        self.app.conf.broker_url = broker_url
        self.app.conf.task_queues = [broker.celery_queue(self.service, broker.is_amqp(broker_url))]
        self.app.conf.broker_transport_options = broker.transport_options(broker_url)

    def run(self, name: str, row_id: UUID, span: Span | None = None) -> None:
        with store.active(self.store):
            if not isgeneratorfunction(self.functions[name]):
                self.functions[name](row_id)
            elif error := self._together(name, {row_id: _origin(span)}).get(row_id):
                raise error

    def _errors(self, name: str, origins: Mapping[UUID, Origin]) -> dict[UUID, Exception]:
        """By row."""
        if len(origins) > 1 and isgeneratorfunction(self.functions[name]):
            try:
                with store.active(self.store):
                    return self._together(name, origins)
            except Exception as error:
                # Nothing is lost: each row can be run again, from its first step.
                log.info("rows are handled each alone", count=len(origins), error=type(error).__name__)
        return _errors(
            self._side_by_side({row_id: partial(self._alone, name, row_id, origins[row_id]) for row_id in origins})
        )

    def _alone(self, name: str, row_id: UUID, origin: Origin) -> None:
        with tracing.trace(*origin, work=name, row_id=str(row_id)):
            self.run(name, row_id, origin[-1])

    def _together(self, name: str, origins: Mapping[UUID, Origin]) -> dict[UUID, Exception]:
        """The errors of calls by row. Raises those of transactions."""

        def step(row_id: UUID, move: Callable[[], Any]) -> Any:
            with tracing.trace(*origins[row_id], work=name, row_id=str(row_id)):
                return move()

        # In the order of ids, as locks are taken in one order everywhere.
        steps: dict[UUID, Any] = {row_id: self.functions[name](row_id) for row_id in sorted(origins)}
        with self.store.handling():
            self._lock(name, origins)
            requested = {row_id: step(row_id, partial(next, each, None)) for row_id, each in steps.items()}
        calls = {row_id: call for row_id, call in requested.items() if call is not None}
        outcomes = self._side_by_side({row_id: partial(step, row_id, call) for row_id, call in calls.items()})
        errors = _errors(outcomes)
        done = {row_id: each.result() for row_id, each in outcomes.items() if row_id not in errors}
        if done:
            with self.store.handling():
                self._lock(name, done)
                for row_id, result in done.items():
                    step(row_id, partial(_finish, steps[row_id], result))
        return errors

    def _lock(self, name: str, row_ids: Iterable[UUID]) -> None:
        if (model := self._locks[name]) is not None:
            rows.lock(model, row_ids)

    def _side_by_side(self, calls: Mapping[UUID, Callable[[], Any]]) -> dict[UUID, Future[Any]]:
        if len(calls) == 1:
            [(row_id, call)] = calls.items()
            return {row_id: _called(call)}
        made = {row_id: self._callers.submit(copy_context().run, call) for row_id, call in calls.items()}
        wait(made.values())
        return made

    @cached_property
    def _callers(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(TASK_ROWS, thread_name_prefix="third-parties")

    def outgoing(self, envelopes: Sequence[Envelope]) -> Outgoing:
        """One message for tasks of one name, as Celery writes it."""
        name, first = envelopes[0].type.removeprefix(TASK_PREFIX), envelopes[0]
        row_ids = [envelope.subject for envelope in envelopes]
        made = self.app.amqp.as_task_v2(str(first.id), name, args=row_ids, ignore_result=True)
        content_type, _, body = dumps(made.body, serializer="json")
        traces = {envelope.subject: envelope.traceparent for envelope in envelopes}
        correlated = {envelope.subject: envelope.correlation_id for envelope in envelopes}
        return Outgoing(
            self.queue,
            body.encode(),
            (f"send {name}", f"sent {name}"),
            self.service,
            headers={
                **made.headers,
                "traceparent": first.traceparent,
                "traceparents": traces,
                "correlation_ids": correlated,
            },
            content_type=content_type,
            properties=made.properties,
            queue=self.app.conf.task_queues[0],
        )


def _origin(span: Span | None) -> Origin:
    return tracing.traceparent(), tracing.correlation_id(), span


def _record(name: str, origins: Mapping[UUID, Origin], failed: Mapping[UUID, str], started: float) -> None:
    """started: by `perf_counter`, of all rows together."""
    milliseconds = round((time.perf_counter() - started) * 1000, 1)
    with telemetry.one_write():
        for row_id, origin in origins.items():
            outcome = failed.get(row_id, "done")
            telemetry.TASKS_HANDLED.labels(name, outcome).inc()
            trace, correlation_id, span = origin
            about = {"row_id": str(row_id), **tracing.identity(trace, correlation_id)}
            if span is not None:
                span.end("" if outcome == "done" else outcome)
            log.info("task", task=name, outcome=outcome, milliseconds=milliseconds, **about)


def _errors(outcomes: Mapping[UUID, Future[Any]]) -> dict[UUID, Exception]:
    return {row_id: error for row_id, each in outcomes.items() if isinstance(error := each.exception(), Exception)}


def _finish(steps: Any, result: Any) -> None:
    with suppress(StopIteration):
        steps.send(result)


def _called(call: Callable[[], Any]) -> Future[Any]:
    future: Future[Any] = Future()
    try:
        future.set_result(call())
    except Exception as error:
        future.set_exception(error)
    return future


def _retry(task: Task, row_ids: Iterable[UUID], error: Exception) -> Retry:
    """The exception ends this run."""
    longest = min(2.0**task.request.retries, RETRY_CAP_SECONDS)
    # Celery's jitter begins at 0, too soon for a restarting server.
    seconds = random.uniform(longest / 2, longest)  # noqa: S311 - spreads load, guards nothing
    failpoints.point("retry")
    try:
        retry: Retry = task.retry(
            args=list(map(str, row_ids)),
            exc=error,
            countdown=seconds,
            throw=False,
            confirm_timeout=CONFIRM_TIMEOUT_SECONDS,
        )
    except Reject as unsent:
        # Celery would dead-letter a task of which no copy was sent.
        raise Reject(unsent.reason, requeue=True) from unsent
    failpoints.point("retried")
    return retry
