"""Sends exchanges to a collector, in the background."""

import asyncio
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field
from structlog import get_logger

from services.gateway.config import schema
from services.gateway.config.configuration import Configuration
from services.gateway.exchange.exchange import Exchange
from services.gateway.exchange.responses import Response
from services.gateway.plugins.base import Plugin, PluginConfig
from services.gateway.plugins.log_entry import LogConfig, LogEntries
from services.gateway.wire.fetch import FETCH_FAILURES, fetch
from services.gateway.wire.pools import unverified

log = get_logger(__name__)


def _endpoint(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be the URL of a collector")
    return url


class Queue(PluginConfig):
    max_batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    max_coalescing_delay: Annotated[float, Field(ge=0, le=3600, strict=False)] = 1
    max_entries: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    max_retry_time: Annotated[float, Field(strict=False)] = 60
    initial_retry_delay: Annotated[float, Field(ge=0.001, le=1_000_000, strict=False)] = 0.01
    max_retry_delay: Annotated[float, Field(ge=0.001, le=1_000_000, strict=False)] = 60


class HTTPLogConfig(LogConfig):
    http_endpoint: Annotated[str, AfterValidator(_endpoint)]
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    content_type: str = "application/json"
    timeout: Annotated[int, Field(ge=1)] = 10_000
    keepalive: Annotated[int, Field(ge=1)] = 60_000
    headers: dict[str, str] = Field(default={})
    queue: Queue = Queue()


class HTTPLog(Plugin):
    name, priority = "http-log", 12

    def __init__(self, entry: schema.Plugin, configuration: Configuration) -> None:
        self._config = HTTPLogConfig.model_validate(entry.config or {})
        self._entries = LogEntries(self._config)
        self._waiting: asyncio.Queue[str] = asyncio.Queue(self._config.queue.max_entries)
        self._sender: asyncio.Task[None] | None = None

    def log(self, exchange: Exchange, response: Response) -> None:
        try:
            self._waiting.put_nowait(self._entries.line(exchange, response))
        except asyncio.QueueFull:
            log.error("exchange not logged: queue full", endpoint=self._config.http_endpoint)
        if self._sender is None or self._sender.done():
            self._sender = asyncio.get_running_loop().create_task(self._send())

    async def _send(self) -> None:
        while not self._waiting.empty():
            batch = [self._waiting.get_nowait()]
            if self._config.queue.max_batch_size > 1:
                await asyncio.sleep(self._config.queue.max_coalescing_delay)
            while len(batch) < self._config.queue.max_batch_size and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            whole = batch[0] if self._config.queue.max_batch_size == 1 else f"[{','.join(batch)}]"
            await self._deliver(whole.encode())

    async def _deliver(self, content: bytes) -> None:
        queue, loop = self._config.queue, asyncio.get_running_loop()
        until, delay = loop.time() + queue.max_retry_time, queue.initial_retry_delay
        while True:
            try:
                status = await self._post(content)
            except FETCH_FAILURES as error:
                failure = repr(error)
            else:
                if status < 400:
                    return
                failure = f"status {status}"
            if loop.time() + delay > until:
                log.error("exchange not logged", endpoint=self._config.http_endpoint, error=failure)
                return
            await asyncio.sleep(delay)
            delay = min(delay * 2, queue.max_retry_delay)

    async def _post(self, content: bytes) -> int:
        url, config = urlsplit(self._config.http_endpoint), self._config
        is_tls = url.scheme == "https"
        response = await fetch(
            config.method,
            url.hostname or "",
            url.port or (443 if is_tls else 80),
            (url.path or "/") + (f"?{url.query}" if url.query else ""),
            timeout_seconds=config.timeout / 1000,
            headers=[("Content-Type", config.content_type), *config.headers.items()],
            body=content,
            tls=unverified() if is_tls else None,
        )
        return response.status
