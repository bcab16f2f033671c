"""How a service is run: what the launcher, the tests and the docs have to know of it without importing it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Manifest:
    """`services/<name>/manifest.py` holds one as `manifest`; a service's name is its folder's."""

    store: Literal["postgres", "mongo"] = "postgres"
    has_celery: bool = False

    called_by: Sequence[str] = ()
    """Services that call this one over HTTP; only their API keys are accepted."""

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

    Values are format strings: `{secret[name]}`, `{port[program]}` and `{data}`, the folder for its files.
    """
