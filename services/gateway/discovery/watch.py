"""Addresses as a catalogue reports them, kept while it is unavailable."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from structlog import get_logger

from chassis.discovery.watch import EMPTY_GRACE_SECONDS, EMPTY_POLL_SECONDS, MIN_POLL_SECONDS
from services.gateway.discovery.names import Address
from services.gateway.wire.fetch import FETCH_FAILURES

log = get_logger(__name__)

WAIT_SECONDS = 60.0
RETRY_SECONDS = 1.0

Fetch = Callable[[float], Awaitable[list[Address]]]
"""Takes the seconds to wait for a change."""


async def watch(name: str, fetch: Fetch) -> AsyncIterator[list[Address]]:
    """For a while also what a catalogue has lost: a wiped one is empty until instances register."""
    known: list[Address] = []
    wait, empty_since = WAIT_SECONDS, 0.0
    while True:
        began = time.monotonic()
        try:
            found = await fetch(wait)
        except (*FETCH_FAILURES, ValueError, LookupError, TypeError, AttributeError) as error:
            log.warning("discovery unavailable", name=name, error=repr(error), kept=len(known))
            await asyncio.sleep(RETRY_SECONDS)
            continue
        if known and not found:
            empty_since = empty_since or time.monotonic()
            if time.monotonic() - empty_since < EMPTY_GRACE_SECONDS:
                wait = EMPTY_POLL_SECONDS
                await asyncio.sleep(EMPTY_POLL_SECONDS)
                continue
        is_new, known = found != known, found
        wait, empty_since = WAIT_SECONDS, 0.0
        yield found
        if not is_new:
            await asyncio.sleep(began + MIN_POLL_SECONDS - time.monotonic())
