"""A DNS name for each service, asked again every few seconds: a Kubernetes Service, or any name server that keeps one.

A headless Service has an address for each ready pod; an ordinary one has a single address, behind which Kubernetes itself
chooses a pod for each connection.
"""

import socket
import threading
import time
from collections.abc import Callable, Sequence

from chassis.discovery.instance import Instance, base_url

FRESH_SECONDS = 5.0

Resolve = Callable[[str, int], Sequence[str]]


def resolve(host: str, port: int) -> Sequence[str]:
    """Its addresses, sorted. Raises OSError when the name is not known or nobody can be asked."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return sorted({str(each[4][0]) for each in found})


class Names:
    def __init__(self, pattern: str, resolve: Resolve = resolve, clock: Callable[[], float] = time.monotonic) -> None:
        """pattern: host:port in which {service} stands for the service's name."""
        self._pattern, self._resolve, self._clock = pattern, resolve, clock
        self._known: dict[str, tuple[Instance, ...]] = {}
        self._due: dict[str, float] = {}
        self._lock = threading.Lock()

    def instances(self, service: str) -> Sequence[Instance]:
        # One thread asks; the others go on with what is known.
        if self._clock() >= self._due.get(service, 0.0) and self._lock.acquire(blocking=service not in self._known):
            try:
                self._refresh(service)
            finally:
                self._lock.release()
        return self._known.get(service, ())

    def _refresh(self, service: str) -> None:
        self._due[service] = self._clock() + FRESH_SECONDS
        host, _, port = self._pattern.format(service=service).rpartition(":")
        try:
            addresses = self._resolve(host, int(port))
        except OSError:
            self._known.setdefault(service, ())
            return
        found = tuple(Instance(address, base_url(address, int(port))) for address in addresses)
        if found != self._known.get(service):
            self._known[service] = found
