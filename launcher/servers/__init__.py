"""The backing servers: external where a URL is given, else started here."""

from launcher.servers.consul import Consul
from launcher.servers.jaeger import Jaeger
from launcher.servers.mongo import Mongo
from launcher.servers.postgres import Postgres
from launcher.servers.prometheus import Prometheus
from launcher.servers.rabbitmq import RabbitMQ
from launcher.servers.redis import Redis
from launcher.servers.server import Server
from launcher.servers.victorialogs import VictoriaLogs

SERVERS: dict[str, type[Server]] = {
    server.name: server for server in (Postgres, Mongo, Redis, RabbitMQ, Consul, Prometheus)
}

OBSERVERS: dict[str, type[Server]] = {server.name: server for server in (VictoriaLogs, Jaeger)}
"""Started by `./souk up --observe`."""

__all__ = [
    "OBSERVERS",
    "SERVERS",
    "Consul",
    "Jaeger",
    "Mongo",
    "Postgres",
    "Prometheus",
    "RabbitMQ",
    "Redis",
    "Server",
    "VictoriaLogs",
]
