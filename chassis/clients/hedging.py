"""Hedged reads: a try that has no answer after a while is joined by a second one elsewhere, and the first answer counts.

Source: Dean and Barroso, "The Tail at Scale", Communications of the ACM, 2013.
"""

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context

from chassis.clients import metrics
from chassis.clients.failures import TryFailed
from chassis.clients.peers import Answer, Request, Turn


class Hedge:
    def __init__(self, upstream: str, after_seconds: float, threads: int) -> None:
        self._upstream, self._after = upstream, after_seconds
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"hedge-{upstream}")

    def send(self, request: Request, seconds: float, first: Turn, second: Callable[[], Turn | None]) -> Answer:
        """The first answer of the two. Raises TryFailed when none of those that were asked gave one.

        The slower one is left to end by itself, which it does within `seconds`.
        """
        tries = {self._start(first, request, seconds)}
        done, _ = wait(tries, min(self._after, seconds))
        if not done and seconds > self._after and (other := second()) is not None:
            metrics.HEDGES.labels(self._upstream).inc()
            tries.add(self._start(other, request, seconds - self._after))
        while True:
            done, tries = wait(tries, return_when=FIRST_COMPLETED)
            try:
                return done.pop().result()
            except TryFailed:
                if not (done or tries):
                    raise
                tries |= done

    def _start(self, turn: Turn, request: Request, seconds: float) -> Future[Answer]:
        return self._pool.submit(copy_context().run, turn.send, request, seconds)
