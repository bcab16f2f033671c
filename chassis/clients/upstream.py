"""One upstream as this process calls it: whom there is to call, and what keeps the calls within bounds."""

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
from chassis.clients.failures import TooSlow, TryFailed
from chassis.clients.hedging import Hedge
from chassis.clients.peers import Answer, Peer, Peers, Request, Turn
from chassis.clients.policy import Policy


class Upstream:
    def __init__(self, service: str, policy: Policy, settings: Settings) -> None:
        self.settings = settings
        self._service, self._policy = service, policy
        slots = policy.concurrency or max(1, settings.threads // 2)
        self._slots = threading.BoundedSemaphore(slots)
        self._under_way: dict[int, float] = {}
        """When each call began that has a place, by its thread."""
        self._answered_at = 0.0
        self._provider = discovery.provider(settings)
        self._peers = Peers(service, policy, connections=slots)
        self._budget = RetryBudget(policy.retry_share, policy.retry_reserve)
        self._breaker = Breaker(service, "service", service, policy.failures_to_open, policy.open_seconds)
        self._hedge = Hedge(service, policy.hedge_after_seconds, 2 * slots) if policy.hedge_after_seconds else None

    def call(self, request: Request) -> Answer:
        """The upstream's answer below 500. Raises Unavailable or TooSlow."""
        with deadline.within(self._policy.timeout_seconds), self._slot():
            instances = self._provider.instances(self._service)
            if not instances:
                raise Unavailable(f"The {self._service} service has no known instance.")
            self._peers.follow(instances)
            admission = self._breaker.admit()
            if admission is None:
                raise Unavailable(f"The {self._service} service is failing and is left alone for now.")
            succeeded = False
            try:
                answer = self._tries(request)
                succeeded = True
                self._answered_at = time.monotonic()
                return answer
            finally:
                admission.record(succeeded)

    @contextmanager
    def _slot(self) -> Iterator[None]:
        """One of the places for calls under way, so that one upstream never has all our threads.

        A upstream that answers is waited for: a burst of calls is no illness. One that hangs is not: as soon as nothing has
        come back for a while, whoever finds no place goes away at once, and their threads are free for other work.
        """
        while not self._slots.acquire(timeout=min(self._patience(), self._left())):
            if not self._patience() or not self._left():
                raise Unavailable(f"Too many calls wait for the {self._service} service.")
        me = threading.get_ident()
        self._under_way[me] = time.monotonic()
        try:
            yield
        finally:
            del self._under_way[me]
            self._slots.release()

    def _patience(self) -> float:
        """Seconds for which a place may still be waited for: counted from the last answer, or from when the oldest call began."""
        oldest = min(list(self._under_way.values()), default=time.monotonic())
        return max(0.0, max(oldest, self._answered_at) + self._policy.slot_seconds - time.monotonic())

    def _tries(self, request: Request) -> Answer:
        self._budget.earn()
        tried: list[Peer] = []
        while True:
            seconds = min(self._policy.try_seconds, self._left())
            turn = self._peers.choose(tried) if seconds else None
            if turn is None:
                raise self._given_up(is_slow=not seconds)
            tried.append(turn.peer)
            try:
                if self._hedge is not None and request.method == "GET":
                    return self._hedge.send(request, seconds, turn, lambda: self._second(tried))
                return turn.send(request, seconds)
            except TryFailed as failure:
                if not self._may_retry(request, failure, len(tried)):
                    raise self._given_up(failure.is_slow, failure.retry_after_seconds) from failure

    def _second(self, tried: list[Peer]) -> Turn | None:
        """A turn with another instance for a hedge, which costs what a retry costs; None when there is none, or no budget for it."""
        if not self._peers.are_more_than(tried) or not self._budget.spend():
            return None
        second = self._peers.choose(tried, again=False)
        if second is not None:
            tried.append(second.peer)
        return second

    def _may_retry(self, request: Request, failure: TryFailed, tries: int) -> bool:
        """Whether to try again; then the pause before it is over. What never left us costs the upstream nothing."""
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

    def _given_up(self, is_slow: bool, retry_after_seconds: int = 2) -> Problem:
        if is_slow:
            return TooSlow(f"The {self._service} service did not answer in time.")
        return Unavailable(f"The {self._service} service does not answer.", retry_after_seconds)
