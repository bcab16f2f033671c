"""Runs the parts of a start concurrently, each after its prerequisites."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from launcher.errors import Cancelled, LaunchError

Result = TypeVar("Result")


class Together:
    def __init__(self, cancelled: threading.Event) -> None:
        self._cancelled = cancelled
        self._pool = ThreadPoolExecutor(max_workers=32, thread_name_prefix="start")
        self._parts: list[Future[Any]] = []

    def start(
        self,
        part: Callable[..., Result],
        *arguments: object,
        after: Iterable[Future[Any]] = (),
        settled: Iterable[Future[Any]] = (),
    ) -> Future[Result]:
        """after: must have succeeded. settled: may have failed."""

        def run() -> Result:
            wait(settled)
            for each in after:
                each.result()
            if self._cancelled.is_set():
                raise Cancelled
            return part(*arguments)

        future = self._pool.submit(run)
        self._parts.append(future)
        return future

    def finish(self) -> None:
        """Waits for all parts, then raises what failed. An interruption cancels them."""
        try:
            wait(self._parts)
        except BaseException:
            self._cancelled.set()
            raise
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)
        # A part fails with the error of what it needed.
        errors = list(dict.fromkeys(error for part in self._parts if (error := part.exception())))
        errors.sort(key=lambda error: isinstance(error, LaunchError | Cancelled))
        for first in errors:
            if isinstance(first, LaunchError) and len(errors) > 1:
                raise LaunchError(str(first), [*first.last_lines, *map(str, errors[1:])]) from first
            raise first
