"""Slots, breaker and retries of calls to an upstream."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from chassis import discovery
from chassis.base import deadline
from chassis.base.problems import Problem, Unavailable
from chassis.base.settings import Settings
from chassis.clients import metrics
from chassis.clients.breaker import Breaker
from chassis.clients.budget import RetryBudget, wait_before
from chassis.clients.failures import BadResponse, TooSlow, TryFailed
from chassis.clients.peers import Peer, Peers, Request, Response
from chassis.clients.policy import Policy


class Upstream:
    def __init__(self, service: str, policy: Policy, settings: Settings) -> None:
        self.settings = settings
        self._service, self._policy = service, policy
        slots = policy.concurrency or max(1, settings.threads // 2)
        self._slots = threading.BoundedSemaphore(slots)
        self._in_flight: dict[int, float] = {}
        """Start by thread."""
        self._responded_at = 0.0
        self._provider = discovery.provider(settings)
        self._peers = Peers(service, policy, slots, settings.internal_ca_file)
        self._budget = RetryBudget(policy.retry_share, policy.retry_reserve)
        self._breaker = Breaker(service, "service", service, policy.failures_to_open, policy.open_seconds)
        metrics.BREAKERS_OPEN.labels(service, "service").set_function(lambda: not self._breaker.is_closed)

    def call(self, request: Request) -> Response:
        """A response below 500. Raises Unavailable, TooSlow."""
        callers = deadline.remaining()
        is_cut = callers is not None and callers < self._policy.timeout_seconds
        with deadline.within(self._policy.timeout_seconds), self._slot():
            instances = self._provider.instances(self._service)
            if not instances:
                raise Unavailable(f"The {self._service} service has no known instance.")
            self._peers.follow(instances)
            admission = self._breaker.admit(not is_cut or self._left() >= self._policy.try_seconds)
            if admission is None:
                raise Unavailable(f"The {self._service} service is failing; calls to it are suspended.")
            verdict = _Verdict()
            try:
                response = self._try(request, is_cut, verdict)
                verdict.succeeded = True
                self._responded_at = time.monotonic()
                return response
            finally:
                admission.record(verdict.succeeded)

    @contextmanager
    def _slot(self) -> Iterator[None]:
        """Keeps one upstream from taking all our threads. Queues only while responses arrive."""
        while not self._slots.acquire(timeout=min(self._queueing_seconds(), self._left())):
            if not self._queueing_seconds() or not self._left():
                raise Unavailable(f"Too many calls to the {self._service} service are in flight.")
        me = threading.get_ident()
        self._in_flight[me] = time.monotonic()
        try:
            yield
        finally:
            del self._in_flight[me]
            self._slots.release()

    def _queueing_seconds(self) -> float:
        """From the last response, or the oldest call in flight."""
        oldest = min(list(self._in_flight.values()), default=time.monotonic())
        return max(0.0, max(oldest, self._responded_at) + self._policy.slot_seconds - time.monotonic())

    def _try(self, request: Request, is_cut: bool, verdict: "_Verdict") -> Response:
        """is_cut: by the caller's deadline."""
        self._budget.earn()
        tried: list[Peer] = []
        while True:
            seconds = min(self._policy.try_seconds, self._left())
            if not seconds:
                raise self._failed(is_slow=True)
            turn = self._peers.choose(tried, not is_cut or seconds >= self._policy.try_seconds)
            if turn is None:
                verdict.succeeded = False
                raise self._failed(is_slow=False)
            tried.append(turn.peer)
            try:
                return turn.send(request, seconds)
            except TryFailed as failure:
                if turn.blames(failure):
                    verdict.succeeded = False
                if not self._may_retry(failure, len(tried), request):
                    raise self._failed(failure.is_slow, failure.retry_after_seconds) from failure
            except BadResponse:
                verdict.succeeded = False
                raise

    def _may_retry(self, failure: TryFailed, tries: int, request: Request) -> bool:
        """Pauses first. An unsent request costs no budget."""
        if tries >= self._policy.tries or (failure.was_sent and not request.is_repeatable):
            return False
        if failure.was_sent and not self._budget.spend():
            metrics.BUDGET_SPENT.labels(self._service).inc()
            return False
        pause = wait_before(tries - 1, self._policy.wait_base_seconds, self._policy.wait_cap_seconds)
        if pause >= self._left():
            return False
        time.sleep(pause)
        metrics.RETRIES.labels(self._service).inc()
        return True

    def _left(self) -> float:
        left = deadline.remaining()
        assert left is not None
        return left

    def _failed(self, is_slow: bool, retry_after_seconds: int = 2) -> Problem:
        if is_slow:
            return TooSlow(f"The {self._service} service did not respond in time.")
        return Unavailable(f"The {self._service} service does not respond.", retry_after_seconds)


class _Verdict:
    """What a call says about the upstream; None: nothing."""

    succeeded: bool | None = None
