"""An installation whose programs and servers are pods, each reached by the name of its Service."""

import os
from collections.abc import Mapping
from pathlib import Path

from launcher.servers import SERVERS
from launcher.services import ports_of
from launcher.stack import Stack
from launcher.state import StateFolder

PORTS = {
    "postgres": 5432,
    "mongo": 27017,
    "redis": 6379,
    "redis-cache": 6379,
    "rabbitmq": 5672,
    "rabbitmq-management": 15672,
    "rabbitmq-metrics": 15692,
    "consul": 8500,
    "consul-server": 8300,
    "consul-gossip": 8301,
    "gateway": 80,
    "mailbox": 8025,
    "mailbox-smtp": 2525,
    "bank": 8080,
}
"""As in k8s/chart/values/kind.yaml."""

HOSTS = {name: name if name == "redis-cache" else name.partition("-")[0] for name in PORTS}


def stack(folder: Path | None = None, environment: Mapping[str, str] = os.environ) -> Stack:
    """folder: of its secrets and keys, by default beside those of `./souk up`."""
    servers = [name for name in SERVERS if name != "prometheus"]
    found = Stack(folder or StateFolder().path / "kubernetes", servers=servers)
    found.state.make()
    found.installation.environment = dict(environment)
    found.installation.ports = ports_of({}) | PORTS
    found.installation.hosts = HOSTS
    return found
