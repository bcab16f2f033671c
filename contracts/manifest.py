"""How a service is run: what the launcher, the tests and the docs have to know of it without importing it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Manifest:
    """`services/<name>/manifest.py` holds one as `manifest`; a service's name is its folder's."""

    store: Literal["postgres", "mongo"] = "postgres"
    has_celery: bool = False

    has_dead_rows: bool = False
    """Whether rows of its database may be dead letters too."""

    calls: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By process (`web`, `celery`), the services that it calls over HTTP, which accept this service's API key."""

    handles: Sequence[str] = ()
    """Types of messages that it may receive."""

    publishes: Sequence[str] = ()
    """Types of messages that it may send."""

    redis: Mapping[str, str] = field(default_factory=dict)
    """By process (`web`, `worker`), what it does in Redis beside looking up revocations: ACL rules of keys and commands."""

    caches: Sequence[str] = ()
    """Processes that use the cache, under keys `cache:<name>:`."""

    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings that the launcher provides, by environment variable, each replaced by the installation's environment where that has it.

    Values are format strings: `{secret[name]}`, `{address[program]}` (host:port) and `{data}`, the folder for its files.
    """

    @property
    def has_queue(self) -> bool:
        """And one for its dead letters."""
        return bool(self.handles) or self.has_celery
