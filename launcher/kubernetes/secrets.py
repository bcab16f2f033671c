"""The cluster's Secrets: for each program the secret half of its settings, for each server in the cluster its configuration."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from launcher import settings
from launcher.kubernetes.chart import SERVERS
from launcher.manifests import ROLES, SERVICES, WITH_MONGO, WITH_POSTGRES
from launcher.servers import Consul, Mongo, RabbitMQ, Redis, postgres, rabbitmq
from launcher.stack import Stack

FOLDER = Path("/etc/souk")
"""Of a server's Secret, in its pod."""

CONNECTIONS = 40
"""Of a service, to a PostgreSQL in the cluster."""


def manifests(stack: Stack) -> list[dict[str, Any]]:
    """For `kubectl apply`. The installation's secrets are made at the first call."""
    stack.services.keys.ensure()
    return [_secret(name, content) for name, content in sorted(contents(stack).items())]


def contents(stack: Stack) -> dict[str, Mapping[str, str]]:
    """By Secret: values by key."""
    found = {program: environment(stack, program) for program in (*ROLES, "gateway", "console-web")}
    keys = {
        f"{name}-keys": {"keys.json": stack.services.keys.file(name).read_text()} for name in (*SERVICES, "gateway")
    }
    return found | keys | dict(_servers(stack))


def environment(stack: Stack, program: str) -> Mapping[str, str]:
    """What the chart does not say: credentials, generated secrets, and what the caller's own environment sets."""
    service = ROLES.get(program, program.removesuffix("-web"))
    credentials = stack.credentials(program)
    if program.endswith("-sidecar"):
        return credentials
    given = settings.names(service) & stack.installation.environment.keys() - settings.CHOSEN.keys()
    found = {**stack.services.environment(service, port=0), **credentials}
    secret = [value[:16] for value in stack.state.read_json("secrets.json").values()]
    return {
        name: value
        for name, value in found.items()
        if name in credentials
        or name in given
        or name in SERVERS
        or name == "SOUK_SESSION_KEYS"
        or any(each in value for each in secret)
    }


# --- inside


def _servers(stack: Stack) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Of those in the cluster."""
    own = {name: server for name, server in stack.servers.items() if not server.given}
    for name, server in own.items():
        match server:
            case postgres.Postgres():
                yield name, _postgres(server)
            case Mongo():
                yield name, _mongo(server)
            case Redis():
                for each in server.ports:
                    yield each, {"redis.conf": server.configuration(each, "0.0.0.0", Path("/data"))}  # noqa: S104 - a pod's
            case RabbitMQ():
                yield (
                    name,
                    {
                        "rabbitmq.conf": server.configuration("0.0.0.0", FOLDER / "definitions.json"),  # noqa: S104
                        "definitions.json": json.dumps(server.definitions()),
                        "enabled_plugins": rabbitmq.PLUGINS,
                    },
                )
            case Consul():
                yield name, {"consul.json": json.dumps(server.configuration()), "acl.sh": _acl(server)}
    for name in ("bank", "mailbox"):
        yield name, environment(stack, name)


def _postgres(server: postgres.Postgres) -> Mapping[str, str]:
    chosen = postgres.SETTINGS | {
        "listen_addresses": "*",
        "max_connections": str(CONNECTIONS * (len(WITH_POSTGRES) + 1)),
    }
    roles = {name: server.secret(f"{name}-database") for name in WITH_POSTGRES}
    return {
        "password": server.secret("postgres"),
        "postgres.conf": "".join(f"{name} = '{value}'\n" for name, value in chosen.items()),
        # A statement is a line: PostgreSQL in its single-user mode reads no more.
        "databases.sql": "".join(
            f"CREATE ROLE {name}\n"
            f"ALTER ROLE {name} LOGIN PASSWORD '{password}' CONNECTION LIMIT {CONNECTIONS}\n"
            f"CREATE DATABASE {name} OWNER {name}\n"
            f"REVOKE ALL ON DATABASE {name} FROM PUBLIC\n"
            for name, password in roles.items()
        ),
    }


def _mongo(server: Mongo) -> Mapping[str, str]:
    password = server.secret("mongo")
    users = {name: server.secret(f"{name}-database") for name in WITH_MONGO}
    return {
        # mongod's own image reads these two, and runs the script.
        "MONGO_INITDB_ROOT_USERNAME": "souk",
        "MONGO_INITDB_ROOT_PASSWORD": password,
        "users.js": "".join(
            f"db.getSiblingDB('{name}').createUser("
            f"{{user: '{name}', pwd: '{password}', roles: [{{role: 'readWrite', db: '{name}'}}]}});\n"
            for name, password in users.items()
        ),
        # SecantusDB.
        "mongo.json": json.dumps({"users": server.users()}),
    }


def _acl(server: Consul) -> str:
    """A script that gives Consul its policies and tokens, with its own command."""
    lines = [
        f"export CONSUL_HTTP_TOKEN={server.management_token}",
        "until consul acl token read -self >/dev/null 2>&1; do sleep 0.2; done",
    ]
    for name, (token, rules) in server.tokens().items():
        lines += [
            f"consul acl policy read -name {name} >/dev/null 2>&1 ||",
            f"    consul acl policy create -name {name} -rules '{rules}' >/dev/null",
            f"consul acl token read -self -token {token} >/dev/null 2>&1 ||",
            f"    consul acl token create -secret {token} -policy-name {name} >/dev/null",
        ]
    agent, _ = server.tokens()["agent"]
    return "\n".join([*lines, f"consul acl set-agent-token agent {agent} >/dev/null", ""])


def _secret(name: str, content: Mapping[str, str]) -> dict[str, Any]:
    labels = {"app.kubernetes.io/part-of": "souk"}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": labels},
        "stringData": dict(content),
    }
