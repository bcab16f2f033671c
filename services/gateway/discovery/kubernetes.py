"""Usable endpoints from Kubernetes EndpointSlices, by list and watch."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from urllib.parse import urlsplit

from chassis.base.parsing import parse_json
from chassis.discovery.api_server import LOST, APIServer
from chassis.discovery.pauses import Pauses
from chassis.discovery.slices import Slices
from services.gateway.discovery.names import Address
from services.gateway.wire.fetch import opened
from services.gateway.wire.stream import Stream
from services.gateway.wire.upstream import UpstreamResponse

NAME = re.compile(r"([^.]+)\.([^.]+)\.svc(\..*)?")
"""SERVICE.NAMESPACE.svc, with or without the cluster's domain."""

RESPONSE_SECONDS = 5.0


class Query:
    """Lists at first, and then watches from where the last watch ended."""

    def __init__(self, api: APIServer, name: str, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """name: one of NAME."""
        self._service, self._namespace, _ = name.split(".", 2)
        self._api, self._base, self._tls = api, urlsplit(api.url), api.with_tls(lambda tls: tls)
        self.slices, self._pauses, self._sleep = Slices(api.zone), Pauses(), sleep

    async def fetch(self, wait_seconds: float) -> list[Address]:
        before = self.slices.version
        if before:
            await self._sleep(self._pauses.seconds())
            with self._pauses.watch(self.slices, wait_seconds):
                await self._watch(wait_seconds)
        # Not even a bookmark: the server may have been restored to before our version.
        if self.slices.version in ("", before):
            await self._list()
        return [Address(each.host, each.port) for each in self.slices.endpoints()]

    async def _list(self) -> None:
        async with self._get(self._api.path(self._service, self._namespace)) as response:
            if response.status != 200:
                raise ConnectionError(f"The API server responded {response.status}")
            blocks = [block async for block in _lines(response.body, RESPONSE_SECONDS)]
            self.slices.replace(parse_json(b"".join(blocks)))

    async def _watch(self, wait_seconds: float) -> None:
        path = self._api.path(self._service, self._namespace, self.slices.version, wait_seconds)
        async with self._get(path) as response:
            if response.status != 200:
                self.slices.version = ""
                if response.status not in LOST:
                    raise ConnectionError(f"The API server responded {response.status}")
                return
            async for line in _lines(response.body, wait_seconds + RESPONSE_SECONDS):
                if self.slices.apply(parse_json(line)):
                    return

    def _get(self, path: str) -> AbstractAsyncContextManager[UpstreamResponse]:
        return opened(
            "GET",
            self._base.hostname or "",
            self._base.port or 443,
            path,
            timeout_seconds=RESPONSE_SECONDS,
            headers=[*self._api.headers.items()],
            tls=self._tls(),
        )


async def _lines(body: Stream, timeout_seconds: float) -> AsyncIterator[bytes]:
    """The timeout is for each block."""
    rest = b""
    while block := await body.read(timeout_seconds):
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            yield line
    if rest:
        yield rest
