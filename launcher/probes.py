"""Readiness probes by protocol. They raise unless the server is ready."""

import json
import socket
import ssl
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import amqp
import psycopg2
import pymongo
import redis

TIMEOUT_SECONDS = 2


def tcp(host: str, port: int) -> None:
    socket.create_connection((host, port), TIMEOUT_SECONDS).close()


def postgres(url: str) -> None:
    connection = psycopg2.connect(url, connect_timeout=TIMEOUT_SECONDS)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.close()


def mongo(url: str) -> None:
    with pymongo.MongoClient[dict[str, object]](url, timeoutMS=TIMEOUT_SECONDS * 1000) as client:
        client.admin.command("ping")


def redis_ping(url: str) -> None:
    with redis.Redis.from_url(url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS) as client:
        client.ping()


def rabbitmq(url: str) -> str:
    """Its version."""
    parts = urlsplit(url)
    connection = amqp.Connection(
        f"{parts.hostname}:{parts.port or 5672}",
        userid=parts.username or "guest",
        password=parts.password or "guest",
        virtual_host=parts.path.lstrip("/") or "/",
        connect_timeout=TIMEOUT_SECONDS,
        read_timeout=TIMEOUT_SECONDS,
    )
    with connection:
        connection.connect()
        return str(connection.server_properties.get("version", ""))


def http(url: str, ca: Path | None = None) -> None:
    """ca: for https."""
    tls = ssl.create_default_context(cafile=ca) if ca and url.startswith("https") else None
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS, context=tls) as response:
        response.read()


def consul_leader(url: str) -> None:
    with urllib.request.urlopen(f"{url}/v1/status/leader", timeout=TIMEOUT_SECONDS) as response:
        if not json.load(response):
            raise ConnectionError("Consul has no leader yet.")


def consul_version(url: str, token: str) -> str:
    request = urllib.request.Request(f"{url}/v1/agent/self", headers={"X-Consul-Token": token})
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
        return str(json.load(response)["Config"]["Version"])


def consul_node(url: str, node: str, token: str) -> None:
    """Once the token is known, and the agent may register services."""
    request = urllib.request.Request(f"{url}/v1/catalog/node/{node}", headers={"X-Consul-Token": token})
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
        if not json.load(response):
            raise ConnectionError("Consul's agent is not registered yet.")
