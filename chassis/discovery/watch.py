"""Watches instances, keeping the last good result during outages."""

import random
import threading
import time
from collections.abc import Callable, Sequence
from weakref import ref

from structlog import get_logger

from chassis.discovery.instance import Instance

log = get_logger(__name__)

FIRST_RESULT_SECONDS = 1.0

EMPTY_GRACE_SECONDS = 15.0
"""A restarted catalogue is empty until services re-register."""

RETRY_SECONDS = (0.2, 1.0)
"""Range, for jitter."""

EMPTY_POLL_SECONDS = 0.5

MIN_POLL_SECONDS = 0.1
"""From one query to the next without a change: a source that does not wait must not keep a core busy."""

Fetch = Callable[[float], Sequence[Instance]]
"""Takes the seconds to wait for a change. Raises on an outage."""


class Watches:
    def __init__(self, fetch_for: Callable[[str], Fetch], wait_seconds: float) -> None:
        self._fetch_for, self._wait = fetch_for, wait_seconds
        self._watches: dict[str, Watch] = {}
        self._lock = threading.Lock()

    def instances(self, service: str) -> Sequence[Instance]:
        watch = self._watches.get(service)
        return (watch or self._watch(service)).instances

    def _watch(self, service: str) -> "Watch":
        with self._lock:
            if service not in self._watches:
                watch = Watch(service, self._fetch_for(service), self._wait)
                watch.start()
                self._watches[service] = watch
            return self._watches[service]


class Watch:
    def __init__(
        self,
        service: str,
        fetch: Fetch,
        wait_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.instances: tuple[Instance, ...] = ()
        self._service, self._fetch, self._wait, self._clock = service, fetch, wait_seconds, clock
        self._empty_since: float | None = None
        self.has_result = threading.Event()
        self._is_unavailable = False

    def start(self) -> None:
        """Returns with the first result, or after FIRST_RESULT_SECONDS. Goes on until the watch is dropped."""
        thread = threading.Thread(target=_follow, args=[ref(self)], name=f"discovery-{self._service}", daemon=True)
        thread.start()
        self.has_result.wait(FIRST_RESULT_SECONDS)

    def poll(self) -> float:
        """Fetch once. Returns the seconds to pause."""
        try:
            found = self._fetch(EMPTY_POLL_SECONDS if self._empty_since is not None else self._wait)
        except Exception as error:  # each library has its own errors
            if not self._is_unavailable:
                log.warning(
                    "discovery unavailable", upstream=self._service, error=repr(error), kept=len(self.instances)
                )
            self._is_unavailable = True
            return random.uniform(*RETRY_SECONDS)  # noqa: S311 - spreads load, guards nothing
        if self._is_unavailable:
            log.info("discovery available again", upstream=self._service)
            self._is_unavailable = False
        self._update(tuple(sorted(found, key=lambda instance: instance.id)))
        return EMPTY_POLL_SECONDS if self._empty_since is not None else 0.0

    def _update(self, found: tuple[Instance, ...]) -> None:
        if found:
            self._empty_since = None
        elif self.instances:
            if self._empty_since is None:
                self._empty_since = self._clock()
            if self._clock() - self._empty_since < EMPTY_GRACE_SECONDS:
                return
            self._empty_since = None
        if found != self.instances:
            log.info("upstream instances changed", upstream=self._service, instances=[each.id for each in found])
            self.instances = found


def _follow(watch: ref[Watch]) -> None:
    while (current := watch()) is not None:
        began, before = time.monotonic(), current.instances
        pause = current.poll()
        current.has_result.set()
        if current.instances is before:
            pause = max(pause, began + MIN_POLL_SECONDS - time.monotonic())
        del current
        time.sleep(max(pause, 0.0))
