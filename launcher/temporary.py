"""Which servers tests get, and where these run."""

from enum import StrEnum

SERVERS = ("postgres", "mongo", "redis", "rabbitmq")


class Where(StrEnum):
    HERE = "here"
    CONTAINERS = "containers"
    """Of official images."""

    DEBIAN = "debian"
    """Containers of an image made of Debian's packages."""
