"""The instances of one upstream."""

import random
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import urllib3
from structlog import get_logger
from urllib3.exceptions import ClosedPoolError, ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError

from chassis.base import deadline, tracing
from chassis.clients import metrics, tls
from chassis.clients.breaker import Admission, Breaker
from chassis.clients.failures import BadResponse, TryFailed
from chassis.clients.policy import Policy
from chassis.discovery import Instance

log = get_logger(__name__)

MAX_RESPONSE_BYTES = 8 * 2**20
_BLOCK_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Request:
    target: str
    """Path and query."""

    headers: Mapping[str, str]
    method: str = "GET"
    body: bytes | None = None
    takes_errors: bool = False
    """A status of 500 or more is a response too: a health check's."""

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be sent again when the first may have worked."""
        return self.method in ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: Mapping[str, str]
    data: bytes


class Peer:
    """One instance."""

    def __init__(self, upstream: str, instance: Instance, policy: Policy, connections: int, ca_file: str) -> None:
        self.upstream, self.instance = upstream, instance
        self.breaker = Breaker(upstream, "instance", instance.id, policy.failures_to_open, policy.open_seconds)
        self._connect_seconds = policy.connect_seconds
        self._pool = tls.pool(upstream, instance.url, ca_file, maxsize=connections, retries=False)
        self._in_flight = 0
        self._lock = threading.Lock()

    @property
    def load(self) -> float:
        return self._in_flight / self.instance.weight

    def send(self, request: Request, seconds: float) -> Response:
        """Raises TryFailed."""
        with self._lock:
            self._in_flight += 1
        try:
            with tracing.http_call(request.method, self.instance.url) as span:
                response = self._exchange(request, seconds)
                tracing.responded(span, response.status)
                return response
        finally:
            with self._lock:
                self._in_flight -= 1

    def close(self) -> None:
        self._pool.close()

    def _exchange(self, request: Request, seconds: float) -> Response:
        end = time.monotonic() + seconds
        headers = {
            **request.headers,
            "traceparent": tracing.traceparent(),
            deadline.HEADER: str(max(1, int(seconds * 1000))),
        }
        timeout = urllib3.Timeout(connect=min(self._connect_seconds, seconds), read=seconds)
        try:
            received = self._pool.urlopen(
                request.method,
                request.target,
                request.body,
                headers,
                retries=False,
                redirect=False,
                timeout=timeout,
                preload_content=False,
            )
            response = Response(received.status, received.headers, _read(received, end))
        except (NewConnectionError, ConnectTimeoutError, ClosedPoolError) as error:
            is_refusal = isinstance(error, NewConnectionError)
            raise TryFailed(repr(error), was_sent=False, is_refusal=is_refusal) from error
        except (HTTPError, OSError) as error:
            raise TryFailed(repr(error), is_slow=isinstance(error, ReadTimeoutError | TimeoutError)) from error
        if response.status >= 500 and not request.takes_errors:
            raise TryFailed(
                f"Status {response.status}.",
                is_slow=response.status == 504,
                retry_after_seconds=retry_after(response.headers),
            )
        return response


def _read(response: urllib3.BaseHTTPResponse, end: float) -> bytes:
    """A socket's timeout restarts with each byte. Raises BadResponse if too long."""
    blocks, size = [], 0
    while block := response.read1(_BLOCK_BYTES):
        blocks.append(block)
        size += len(block)
        if time.monotonic() > end:
            response.close()
            raise TimeoutError(f"Only {size} bytes arrived in time.")
        if size > MAX_RESPONSE_BYTES:
            response.close()
            raise BadResponse(f"The response is longer than {MAX_RESPONSE_BYTES} bytes.")
    response.release_conn()
    return b"".join(blocks)


def retry_after(headers: Mapping[str, str], default_seconds: int = 2) -> int:
    """Seconds, at most an hour."""
    value = headers.get("Retry-After", "")
    return min(int(value), 3_600) if value.isascii() and value.isdecimal() else default_seconds


@dataclass(frozen=True, slots=True)
class Turn:
    """One try of one instance."""

    peer: Peer
    admission: Admission
    has_full_time: bool

    def send(self, request: Request, seconds: float) -> Response:
        """Raises TryFailed and BadResponse. Any other error is ours, and says nothing about the upstream."""
        succeeded: bool | None = None
        try:
            response = self.peer.send(request, seconds)
            succeeded = True
            return response
        except BadResponse:
            succeeded = False
            raise
        except TryFailed as failure:
            name, instance = self.peer.upstream, self.peer.instance.id
            log.warning("try failed", upstream=name, instance=instance, error=str(failure))
            succeeded = False if self.blames(failure) else None
            raise
        finally:
            self.admission.record(succeeded)

    def blames(self, failure: TryFailed) -> bool:
        """A try that its caller's deadline cut short says nothing about the upstream."""
        return self.has_full_time or failure.is_refusal


class Peers:
    """Chooses which instance to call."""

    def __init__(self, upstream: str, policy: Policy, connections: int, ca_file: str = "") -> None:
        self._upstream, self._policy, self._connections, self._ca_file = upstream, policy, connections, ca_file
        self._instances: Sequence[Instance] = ()
        self._peers: dict[Instance, Peer] = {}
        self._lock = threading.Lock()
        metrics.BREAKERS_OPEN.labels(upstream, "instance").set_function(self._breakers_open)

    def follow(self, instances: Sequence[Instance]) -> None:
        if instances is self._instances:
            return
        with self._lock:
            before = self._peers
            self._peers = {
                each: before.get(each) or Peer(self._upstream, each, self._policy, self._connections, self._ca_file)
                for each in instances
            }
            self._instances = instances
            for gone in before.keys() - self._peers.keys():
                before[gone].close()

    def choose(self, tried: Collection[Peer] = (), has_full_time: bool = True) -> Turn | None:
        """Of `tried` only if no other."""
        peers = list(self._peers.values())
        for candidates in ([peer for peer in peers if peer not in tried], [peer for peer in peers if peer in tried]):
            while candidates:
                peer = _less_busy(candidates)
                if (admission := peer.breaker.admit(has_full_time)) is not None:
                    return Turn(peer, admission, has_full_time)
                candidates.remove(peer)
        return None

    def _breakers_open(self) -> int:
        return sum(not peer.breaker.is_closed for peer in self._peers.values())


def _less_busy(candidates: Sequence[Peer]) -> Peer:
    """The less busy of two drawn by weight.

    Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 1996.
    """
    if len(candidates) == 1:
        return candidates[0]
    weights = [peer.instance.weight for peer in candidates]
    one, other = random.choices(candidates, weights, k=2)  # noqa: S311 - spreads load, guards nothing
    return one if one.load <= other.load else other
