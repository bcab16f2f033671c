"""The instances of one upstream as this process knows them: their connections, how busy they are with us, their breakers."""

import random
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import urllib3
from structlog import get_logger
from urllib3.exceptions import ClosedPoolError, ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError

from chassis.base import deadline
from chassis.clients.breaker import Admission, Breaker
from chassis.clients.failures import BadAnswer, TryFailed
from chassis.clients.policy import Policy
from chassis.discovery import Instance

log = get_logger(__name__)

MAX_ANSWER_BYTES = 8 * 2**20
_BLOCK_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: str
    """Path and query."""

    headers: Mapping[str, str]
    body: bytes | None
    is_repeatable: bool
    """Doing it twice does no more than doing it once."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    data: bytes


class Peer:
    def __init__(self, upstream: str, instance: Instance, policy: Policy, connections: int) -> None:
        self.upstream, self.instance = upstream, instance
        self.breaker = Breaker(upstream, "instance", instance.id, policy.failures_to_open, policy.open_seconds)
        self._connect_seconds = policy.connect_seconds
        self._pool = urllib3.connection_from_url(instance.url, maxsize=connections, retries=False)
        self._under_way = 0
        self._lock = threading.Lock()

    @property
    def load(self) -> float:
        return self._under_way / self.instance.weight

    def send(self, request: Request, seconds: float) -> Answer:
        """One try. Raises TryFailed."""
        with self._lock:
            self._under_way += 1
        try:
            return self._exchange(request, seconds)
        finally:
            with self._lock:
                self._under_way -= 1

    def close(self) -> None:
        self._pool.close()

    def _exchange(self, request: Request, seconds: float) -> Answer:
        end = time.monotonic() + seconds
        headers = {**request.headers, deadline.HEADER: str(max(1, int(seconds * 1000)))}
        timeout = urllib3.Timeout(connect=min(self._connect_seconds, seconds), read=seconds)
        try:
            response = self._pool.urlopen(
                request.method,
                request.target,
                request.body,
                headers,
                retries=False,
                redirect=False,
                timeout=timeout,
                preload_content=False,
            )
            answer = Answer(response.status, response.headers, _whole(response, end))
        except (NewConnectionError, ConnectTimeoutError, ClosedPoolError) as error:
            raise TryFailed(repr(error), was_sent=False) from error
        except (HTTPError, OSError) as error:
            raise TryFailed(repr(error), is_slow=isinstance(error, ReadTimeoutError | TimeoutError)) from error
        if answer.status >= 500:
            raise TryFailed(
                f"It answered {answer.status}.",
                is_slow=answer.status == 504,
                retry_after_seconds=retry_after(answer.headers),
            )
        return answer


def _whole(response: urllib3.BaseHTTPResponse, end: float) -> bytes:
    """The body. A socket's timeout begins anew with each byte, so the whole time is watched here. Raises BadAnswer if too long."""
    blocks, size = [], 0
    while block := response.read1(_BLOCK_BYTES):
        blocks.append(block)
        size += len(block)
        if time.monotonic() > end:
            response.close()
            raise TimeoutError(f"{size} bytes came, and too slowly.")
        if size > MAX_ANSWER_BYTES:
            response.close()
            raise BadAnswer(f"The answer is longer than {MAX_ANSWER_BYTES} bytes.")
    response.release_conn()
    return b"".join(blocks)


def retry_after(headers: Mapping[str, str], default_seconds: int = 2) -> int:
    """Seconds by the header Retry-After, at most an hour."""
    value = headers.get("Retry-After", "")
    return min(int(value), 3_600) if value.isascii() and value.isdecimal() else default_seconds


@dataclass(frozen=True, slots=True)
class Turn:
    """Leave to try one instance once."""

    peer: Peer
    admission: Admission

    def send(self, request: Request, seconds: float) -> Answer:
        """Raises TryFailed."""
        succeeded = False
        try:
            answer = self.peer.send(request, seconds)
            succeeded = True
            return answer
        except TryFailed as failure:
            name, instance = self.peer.upstream, self.peer.instance.id
            log.warning("try failed", upstream=name, instance=instance, error=str(failure))
            raise
        finally:
            self.admission.record(succeeded)


class Peers:
    """Follows what discovery knows, and chooses whom to call."""

    def __init__(self, upstream: str, policy: Policy, connections: int) -> None:
        self._upstream, self._policy, self._connections = upstream, policy, connections
        self._known: Sequence[Instance] = ()
        self._peers: dict[Instance, Peer] = {}
        self._lock = threading.Lock()

    def follow(self, instances: Sequence[Instance]) -> None:
        if instances is self._known:
            return
        with self._lock:
            before = self._peers
            self._peers = {
                each: before.get(each) or Peer(self._upstream, each, self._policy, self._connections)
                for each in instances
            }
            self._known = instances
            for gone in before.keys() - self._peers.keys():
                before[gone].close()

    def are_more_than(self, tried: Collection[Peer]) -> bool:
        return any(peer not in tried for peer in self._peers.values())

    def choose(self, tried: Collection[Peer] = (), again: bool = True) -> Turn | None:
        """A turn with an instance whose breaker admits one; with one of `tried` only when there is no other, and only if `again`."""
        peers = list(self._peers.values())
        fresh = [peer for peer in peers if peer not in tried]
        for candidates in (fresh, [peer for peer in peers if again and peer in tried]):
            while candidates:
                peer = _less_busy(candidates)
                if (admission := peer.breaker.admit()) is not None:
                    return Turn(peer, admission)
                candidates.remove(peer)
        return None


def _less_busy(candidates: Sequence[Peer]) -> Peer:
    """The less busy of two that are drawn by weight.

    Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 1996: nearly as even as asking all,
    without sending everybody to the one that was idle a moment ago.
    """
    if len(candidates) == 1:
        return candidates[0]
    weights = [peer.instance.weight for peer in candidates]
    one, other = random.choices(candidates, weights, k=2)  # noqa: S311 - spreads load, guards nothing
    return one if one.load <= other.load else other
