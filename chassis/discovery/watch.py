"""Keeps what is known of one service fresh from a source that may be away: the last answer that was good counts on."""

import random
import threading
import time
from collections.abc import Callable, Sequence

from structlog import get_logger

from chassis.discovery.instance import Instance

log = get_logger(__name__)

FIRST_ANSWER_SECONDS = 1.0
"""How long the first who asks for a service waits for the source."""

EMPTY_GRACE_SECONDS = 15.0
"""An answer without any instance is believed only when it stays so: a catalogue that was wiped or has just started is
empty until everybody has registered again, and calling an instance that is really gone fails at once anyway."""

RETRY_SECONDS = (0.2, 1.0)
"""Between tries while the source is away: drawn from this range, so that not all come at once."""

EMPTY_POLL_SECONDS = 0.5


Ask = Callable[[float], Sequence[Instance]]


class Watches:
    """A provider: one watch for each service that was asked for."""

    def __init__(self, ask_for: Callable[[str], Ask], patience_seconds: float) -> None:
        """ask_for: how to ask for the service of that name; see Watch."""
        self._ask_for, self._patience = ask_for, patience_seconds
        self._watches: dict[str, Watch] = {}
        self._lock = threading.Lock()

    def instances(self, service: str) -> Sequence[Instance]:
        watch = self._watches.get(service)
        return (watch or self._watch(service)).instances

    def _watch(self, service: str) -> "Watch":
        with self._lock:
            if service not in self._watches:
                watch = Watch(service, self._ask_for(service), self._patience)
                watch.start()
                self._watches[service] = watch
            return self._watches[service]


class Watch:
    """`ask(patience_seconds)` gives the instances to call, at the latest after that time; it raises when the source is away.

    It may return at once, or keep the call until something has changed.
    """

    def __init__(
        self,
        service: str,
        ask: Ask,
        patience_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.instances: tuple[Instance, ...] = ()
        self._service, self._ask, self._patience, self._clock = service, ask, patience_seconds, clock
        self._empty_since: float | None = None
        self._answered = threading.Event()
        self._is_away = False

    def start(self) -> None:
        """Ask on for the rest of the process; returns with the first answer, or when that takes too long."""
        threading.Thread(target=self._run, name=f"discovery-{self._service}", daemon=True).start()
        self._answered.wait(FIRST_ANSWER_SECONDS)

    def turn(self) -> float:
        """Ask once. Gives how long to pause before the next time."""
        try:
            found = self._ask(EMPTY_POLL_SECONDS if self._empty_since is not None else self._patience)
        except Exception as error:  # each source has a library with errors of its own
            if not self._is_away:
                log.warning("discovery away", upstream=self._service, error=repr(error), kept=len(self.instances))
            self._is_away = True
            return random.uniform(*RETRY_SECONDS)  # noqa: S311 - spreads load, guards nothing
        if self._is_away:
            log.info("discovery back", upstream=self._service)
            self._is_away = False
        self._learn(tuple(sorted(found, key=lambda instance: instance.id)))
        return EMPTY_POLL_SECONDS if self._empty_since is not None else 0.0

    def _learn(self, found: tuple[Instance, ...]) -> None:
        if found:
            self._empty_since = None
        elif self.instances:
            if self._empty_since is None:
                self._empty_since = self._clock()
            if self._clock() - self._empty_since < EMPTY_GRACE_SECONDS:
                return
            self._empty_since = None
        if found != self.instances:
            log.info("upstream's instances", upstream=self._service, instances=[each.id for each in found])
            self.instances = found

    def _run(self) -> None:
        while True:
            pause = self.turn()
            self._answered.set()
            if pause:
                time.sleep(pause)
