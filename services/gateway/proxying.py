"""Sends an exchange to its service and brings the answer back: tries, timeouts, bodies that stream."""

import http.client
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from structlog import get_logger

from services.gateway import answers, headers, uris
from services.gateway.answers import Answer
from services.gateway.connections import Connection, Pool
from services.gateway.exchange import Exchange
from services.gateway.schema import Service
from services.gateway.streaming import Stream

log = get_logger(__name__)

NEVER_REPEATED = frozenset({"POST", "PATCH", "LOCK"})
"""Once sent, these may have had their effect: another try could double it."""

SMALL_ANSWER_BYTES = 64 * 1024
"""Answers up to this are read whole: one block to the client, and the connection is free at once."""


class Balancer(Protocol):
    def choose(self) -> Pool | None:
        """The target of the next try; None when no target takes traffic."""


@dataclass(frozen=True, slots=True)
class Backend:
    """A service with what its tries need, worked out once."""

    service: Service
    balancer: Balancer
    host_header: str | None
    """Of the upstream: replaces the target's name, not its port."""

    @property
    def connect_timeout(self) -> float:
        return self.service.connect_timeout / 1000


class Failed(Exception):
    """One try came to nothing. `answer` is what the client hears if it was the last."""

    def __init__(self, answer: tuple[int, str], reason: BaseException, was_sent: bool) -> None:
        super().__init__(repr(reason))
        self.answer = answer
        self.was_sent = was_sent


def forward(exchange: Exchange, backend: Backend) -> Answer:
    """The upstream's answer, or the gateway's about not getting one. Raises ClientGone, BodyTooLarge."""
    exchange.body()
    exchange.tried_at = time.perf_counter()
    target = _request_target(exchange, backend.service)
    failure = answers.NO_PEER
    for _ in range(backend.service.retries + 1):
        pool = backend.balancer.choose()
        if pool is None:
            break
        try:
            return _try(exchange, backend, pool, target)
        except Failed as failed:
            log.warning("try failed", service=backend.service.name, target=pool.authority, error=str(failed))
            failure = failed.answer
            if failed.was_sent and exchange.method in NEVER_REPEATED:
                break
    return answers.error(exchange, failure)


def _request_target(exchange: Exchange, service: Service) -> str:
    match = exchange.match
    assert match is not None
    path = uris.join(service.path or "", exchange.path, match.matched, match.route.strip_path)
    if match.route.strip_path and match.matched not in ("", "/"):
        exchange.set_header("X-Forwarded-Prefix", uris.escape(match.matched))
    else:
        exchange.set_header("X-Forwarded-Prefix", None)
    return uris.escape(path) + uris.query_suffix(exchange.environ)


def _try(exchange: Exchange, backend: Backend, pool: Pool, target: str) -> Answer:
    try:
        connection = pool.acquire(backend.connect_timeout)
    except socket.gaierror as error:
        raise Failed(answers.NAME_RESOLUTION_FAILED, error, was_sent=False) from error
    except OSError as error:
        raise Failed(_kind(error), error, was_sent=False) from error
    sent_at = time.perf_counter()
    try:
        _send(exchange, backend, pool, connection, target)
        connection.set_timeout(backend.service.read_timeout / 1000)
        response = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise Failed(_kind(error), error, was_sent=True) from error
    exchange.upstream_seconds = time.perf_counter() - sent_at
    exchange.from_upstream = True
    body = _body(response, connection, pool)
    return Answer(response.status, headers.to_client(exchange, response.getheaders()), body)


def _kind(error: BaseException) -> tuple[int, str]:
    return answers.TIMING_OUT if isinstance(error, TimeoutError) else answers.INVALID_RESPONSE


def _send(exchange: Exchange, backend: Backend, pool: Pool, connection: Connection, target: str) -> None:
    connection.set_timeout(backend.service.write_timeout / 1000)
    connection.putrequest(exchange.method, target, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.to_upstream(exchange, _host(exchange, backend, pool)).items():
        connection.putheader(name, value)
    body = exchange.body()
    if body is not None:
        connection.putheader("Content-Length", str(exchange.body_length))
    connection.endheaders()
    # An upstream may refuse a body before it has read it all, and close: what it said then is the answer.
    with suppress(BrokenPipeError, ConnectionResetError):
        while body is not None and (block := body.read(SMALL_ANSWER_BYTES)):
            connection.send(block)


def _host(exchange: Exchange, backend: Backend, pool: Pool) -> str:
    assert exchange.match is not None
    if exchange.match.route.preserve_host:
        return exchange.host
    if backend.host_header is not None:
        return f"{backend.host_header}:{pool.port}"
    return pool.authority


def _body(response: http.client.HTTPResponse, connection: Connection, pool: Pool) -> list[bytes] | Iterator[bytes]:
    stream = Stream(response, connection, pool)
    if response.length is None or response.length > SMALL_ANSWER_BYTES:
        return stream
    blocks: list[bytes] = []
    try:
        blocks.extend(stream)
    except (OSError, http.client.HTTPException) as error:
        return _broken(blocks, error)
    return [b"".join(blocks)]


def _broken(blocks: list[bytes], error: Exception) -> Iterator[bytes]:
    """The upstream's status is known and nothing can take it back: the client, too, gets an answer that breaks off."""
    yield from blocks
    raise error
