"""A DNS name per service, such as a headless Kubernetes Service."""

import socket
import threading
import time
from collections.abc import Callable, Sequence

from chassis.discovery.instance import Instance, base_url

TTL_SECONDS = 5.0

Resolve = Callable[[str, int], Sequence[str]]


def resolve(host: str, port: int) -> Sequence[str]:
    """Sorted addresses. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return sorted({str(each[4][0]) for each in found})


class Names:
    def __init__(self, pattern: str, resolve: Resolve = resolve, clock: Callable[[], float] = time.monotonic) -> None:
        """pattern: host:port with {service}."""
        self._pattern, self._resolve, self._clock = pattern, resolve, clock
        self._instances: dict[str, tuple[Instance, ...]] = {}
        self._due: dict[str, float] = {}
        self._lock = threading.Lock()

    def instances(self, service: str) -> Sequence[Instance]:
        # Only one thread resolves.
        if self._clock() >= self._due.get(service, 0.0) and self._lock.acquire(blocking=service not in self._instances):
            try:
                self._refresh(service)
            finally:
                self._lock.release()
        return self._instances.get(service, ())

    def _refresh(self, service: str) -> None:
        self._due[service] = self._clock() + TTL_SECONDS
        host, _, port = self._pattern.format(service=service).rpartition(":")
        try:
            addresses = self._resolve(host, int(port))
        except OSError:
            self._instances.setdefault(service, ())
            return
        found = tuple(Instance(address, base_url(address, int(port))) for address in addresses)
        if found != self._instances.get(service):
            self._instances[service] = found
