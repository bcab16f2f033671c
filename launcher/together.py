"""Runs the parts of a start concurrently, each after its prerequisites."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from launcher.errors import Cancelled

Result = TypeVar("Result")


class Together:
    def __init__(self, cancelled: threading.Event) -> None:
        self._cancelled = cancelled
        self._pool = ThreadPoolExecutor(max_workers=32, thread_name_prefix="start")
        self._parts: list[Future[Any]] = []

    def start(
        self, part: Callable[..., Result], *arguments: object, after: Iterable[Future[Any]] = ()
    ) -> Future[Result]:
        def run() -> Result:
            for each in after:
                each.result()
            if self._cancelled.is_set():
                raise Cancelled
            return part(*arguments)

        future = self._pool.submit(run)
        self._parts.append(future)
        return future

    def finish(self) -> None:
        """Raises the first failure, after all have stopped."""
        try:
            wait(self._parts, return_when=FIRST_EXCEPTION)
        finally:
            failed = any(part.done() and part.exception() for part in self._parts)
            if failed or not all(part.done() for part in self._parts):
                self._cancelled.set()
            self._pool.shutdown(wait=True, cancel_futures=True)
        errors = [error for part in self._parts if not part.cancelled() and (error := part.exception())]
        # A cancellation follows from another failure.
        for error in sorted(errors, key=lambda error: isinstance(error, Cancelled)):
            raise error
