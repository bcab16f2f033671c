"""Names watched while a configuration needs them."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

from structlog import get_logger

log = get_logger(__name__)

RESTART_SECONDS = 1.0


@dataclass(frozen=True, slots=True, order=True)
class Address:
    ip: str
    port: int | None = None
    """None: the target's own."""
    weight: int | None = None
    """None: the target's own."""


class Resolution:
    """`version` counts changes, 0 before the first lookup."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.addresses: tuple[Address, ...] = ()
        self.version = 0
        self._resolved = asyncio.Event()
        self._was_awaited = False

    def update(self, addresses: Iterable[Address]) -> None:
        """Sorted: record order must not affect balancing."""
        found = tuple(sorted(addresses, key=lambda address: (address.ip, address.port or 0)))
        if found != self.addresses or self.version == 0:
            self.version += 1
            self.addresses = found
        self._resolved.set()

    async def first(self, timeout_seconds: float) -> None:
        """Returns at once where somebody has waited so long already."""
        if self._was_awaited:
            return
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._resolved.wait()
        except TimeoutError:
            self._was_awaited = True
            log.warning("name not resolved in time", name=self.name)


Follow = Callable[[str], AsyncIterator[list[Address]]]
"""Yields addresses now and on every change."""


class Names:
    def __init__(self, follow: Follow) -> None:
        self._follow = follow
        self._watched: dict[str, tuple[Resolution, asyncio.Task[None] | None]] = {}

    def watch(self, name: str) -> Resolution:
        """Call in the loop."""
        if name not in self._watched:
            resolution = Resolution(name)
            if _is_address(name):
                resolution.update([Address(name)])
                self._watched[name] = resolution, None
            else:
                self._watched[name] = resolution, asyncio.get_running_loop().create_task(self._follow_name(resolution))
        return self._watched[name][0]

    def unresolved(self) -> list[str]:
        """Those of which nothing was ever learned, not even that there is nobody. From any thread."""
        return [name for name, (resolution, _) in list(self._watched.items()) if resolution.version == 0]

    def is_any_resolved(self) -> bool:
        return any(resolution.addresses for resolution, _ in list(self._watched.values()))

    def retain(self, names: Iterable[str]) -> None:
        for name in self._watched.keys() - set(names):
            task = self._watched.pop(name)[1]
            if task is not None:
                task.cancel()

    async def _follow_name(self, resolution: Resolution) -> None:
        """For ever. What was found stays."""
        while True:
            try:
                await self._update(resolution)
            except Exception as error:  # each catalogue has its own
                log.exception("discovery failed, starting again", name=resolution.name, exc_info=error)
            await asyncio.sleep(RESTART_SECONDS)

    async def _update(self, resolution: Resolution) -> None:
        async for addresses in self._follow(resolution.name):
            before = resolution.version
            resolution.update(addresses)
            if resolution.version != before:
                log.info(
                    "addresses changed", name=resolution.name, addresses=[f"{a.ip}:{a.port or ''}" for a in addresses]
                )


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
