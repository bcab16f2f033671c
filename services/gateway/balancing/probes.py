"""Active health checks."""

import asyncio
from collections.abc import Callable

from services.gateway.balancing.nodes import Node
from services.gateway.balancing.peers import Peers
from services.gateway.wire.fetch import FETCH_FAILURES, fetch
from services.gateway.wire.pools import Pools


class Probes:
    """One upstream's probes."""

    def __init__(self, peers: Peers, pools: Pools) -> None:
        self._peers, self._pools = peers, pools
        self._checks = peers.upstream.healthchecks.active
        self._slots = asyncio.Semaphore(self._checks.concurrency)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        healthy, unhealthy = self._checks.healthy.interval, self._checks.unhealthy.interval
        if healthy:
            self._tasks.append(asyncio.create_task(self._repeat(healthy, lambda node: node.health.is_healthy)))
        if unhealthy:
            self._tasks.append(asyncio.create_task(self._repeat(unhealthy, lambda node: not node.health.is_healthy)))

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _repeat(self, interval_seconds: float, applies: Callable[[Node], bool]) -> None:
        while True:
            await asyncio.sleep(interval_seconds)
            await asyncio.gather(*(self._probe(node) for node in self._peers.nodes if applies(node)))

    async def _probe(self, node: Node) -> None:
        checks, health = self._checks, node.health
        async with self._slots:
            try:
                status = await self._status(node)
            except TimeoutError:
                health.failed("timeouts", checks.unhealthy)
            except FETCH_FAILURES:
                health.failed("tcp_failures", checks.unhealthy)
            else:
                if status is None or status in checks.healthy.http_statuses:
                    health.succeeded(checks.healthy.successes)
                elif status in checks.unhealthy.http_statuses:
                    health.failed("http_failures", checks.unhealthy)

    async def _status(self, node: Node) -> int | None:
        """None for a TCP check."""
        checks, host, port = self._checks, node.pool.host, node.pool.port
        if checks.type == "tcp":
            async with asyncio.timeout(checks.timeout):
                _, writer = await asyncio.open_connection(host, port)
                writer.close()
            return None
        response = await fetch(
            "GET",
            host,
            port,
            checks.http_path,
            timeout_seconds=checks.timeout,
            headers=[
                ("Host", node.host),
                *((name, value) for name, values in checks.headers.items() for value in values),
            ],
            tls=self._pools.tls(checks.https_verify_certificate) if checks.type == "https" else None,
            server_name=checks.https_sni or node.host,
            version="1.0",
        )
        return response.status
