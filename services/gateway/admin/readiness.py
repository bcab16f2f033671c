"""When an edge takes requests: before it knows their targets it would refuse what the one that it replaces can serve."""

import time

from structlog import get_logger

from services.gateway.discovery.names import Names

log = get_logger(__name__)

MAX_SECONDS = 60.0
"""For a name that nobody answers, where others are known."""


class Readiness:
    def __init__(self, names: Names) -> None:
        self._names, self._began = names, time.monotonic()
        self._is_ready = False

    def check(self) -> None:
        """Once passed, it passes: what a new configuration names keeps nothing else from being served. Raises ConnectionError."""
        if self._is_ready:
            return
        unresolved = sorted(self._names.unresolved())
        is_late = time.monotonic() - self._began > MAX_SECONDS and self._names.is_any_resolved()
        if unresolved and not is_late:
            raise ConnectionError(f"no addresses yet for {', '.join(unresolved)}")
        if unresolved:
            log.warning("ready without addresses", names=unresolved)
        self._is_ready = True
