"""The table of Souk's own programs: what runs each, where it listens, and what its environment tells it."""

import dataclasses
import json
import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher import certificate
from launcher.installation import Installation
from launcher.keys import InstallationKeys
from launcher.program import Program
from launcher.state import REPOSITORY

SERVICES = ("users", "products", "orders", "payments", "notifications")
WITH_POSTGRES = ("users", "orders", "payments", "notifications")
WITH_CELERY = ("payments", "notifications")

PORTS: dict[str, int] = {
    "gateway": 8000,
    "gateway-tls": 8443,
    "gateway-admin": 8001,
    "mailbox": 8025,
    "mailbox-smtp": 2525,
    "bank": 0,
    **{f"{service}-{role}": 0 for service in SERVICES for role in ("web", "sidecar", "worker")},
    **{f"{service}-celery": 0 for service in WITH_CELERY},
}
"""Port by name, with the one that people expect (0: none); of one instance of each service."""

WITHOUT_METRICS = ("gateway", "gateway-tls", "mailbox", "mailbox-smtp", "bank")
"""Ports that do not serve /metrics; the gateway's are on its admin port."""

OURS = frozenset(name.partition("-")[0] for name in PORTS)
"""What our own programs' names begin with."""

MAX_INSTANCES = 20

CONSUL_ACCESS = ("TOKEN", "CA_FILE", "CERTIFICATE_FILE", "KEY_FILE")
"""How a Consul that was given is entered: handed on to whoever talks to it."""


def instance_names(service: str, count: int) -> list[str]:
    """Its web programs: users-web, users-web-2, ..."""
    return [f"{service}-web", *(f"{service}-web-{number}" for number in range(2, count + 1))]


def sidecar_of(web: str) -> str:
    """The program that keeps this instance's entry in Consul: users-sidecar-2 beside users-web-2."""
    return web.replace("-web", "-sidecar", 1)


def ports_of(replicas: Mapping[str, int]) -> dict[str, int]:
    """PORTS, with those of the further instances."""
    more = [name for service, count in replicas.items() for name in instance_names(service, count)]
    return {**PORTS, **{name: 0 for web in more for name in (web, sidecar_of(web))}}


@dataclass(frozen=True)
class Backing:
    """Where the servers are that the services stand on."""

    databases: Mapping[str, str]
    """URL by service, of those with PostgreSQL."""

    mongo: str
    redis: str
    broker: str
    consul: str
    """Empty where there is none."""


class Services:
    def __init__(self, installation: Installation, backing: Backing) -> None:
        self._installation = installation
        self._backing = backing
        self.keys = InstallationKeys(installation.state, installation.secrets, SERVICES, verifiers=["gateway"])

    @property
    def kong_file(self) -> Path:
        """`kong/kong.yml` with this installation's addresses and keys; written before the gateway starts."""
        return self._installation.state.path / "kong.yml"

    def programs(self) -> list[Program]:
        return [
            *(self._program(name, "chassis", "web", f"services.{s}") for s in SERVICES for name in self.instances(s)),
            *(self._sidecar(name) for s in SERVICES for name in self.instances(s) if self._backing.consul),
            *(self._program(f"{s}-worker", "chassis", "worker", f"services.{s}") for s in SERVICES),
            *(self._program(f"{s}-celery", "chassis", "celery", f"services.{s}") for s in WITH_CELERY),
            dataclasses.replace(self._program("gateway", "services.gateway"), reads=[self.kong_file]),
            self._program("bank", "devservers.bank"),
            self._program("mailbox", "devservers.mailbox"),
        ]

    def instances(self, service: str) -> list[str]:
        """Its web programs."""
        return instance_names(service, self._installation.replicas.get(service, 1))

    def one_shot(self, service: str, *arguments: str) -> tuple[list[str], dict[str, str]]:
        """Command and environment of something that runs once and ends, as `service`."""
        return [sys.executable, "-m", *arguments], {**os.environ, **self.environment(service, port=0)}

    def health_url(self, program: str) -> str:
        """What answers with success when the program is ready to work."""
        if program == "gateway":
            return f"http://127.0.0.1:{self._port('gateway-admin')}/status"
        return f"http://127.0.0.1:{self._port(program)}/health/ready"

    def environment(self, service: str, port: int) -> dict[str, str]:
        """service: users ... notifications, gateway, bank or mailbox."""
        told = self._common(port)
        if service in (*SERVICES, "gateway"):
            told["SOUK_KEYS_FILE"] = str(self.keys.file(service))
        if service in self._backing.databases:
            told["SOUK_DATABASE_URL"] = self._backing.databases[service]
        return told | self._own(service)

    # --- inside

    def _program(self, name: str, *arguments: str) -> Program:
        environment = self.environment(name.partition("-")[0], self._port(name))
        return Program(name, [sys.executable, "-m", *arguments], environment, stop_seconds=20)

    def _sidecar(self, web: str) -> Program:
        """It is told nothing of its service's secrets."""
        name = sidecar_of(web)
        told = {
            **self._process(self._port(name)),
            **self._consul_access(),
            "SOUK_SERVICE": web.partition("-")[0],
            "SOUK_INSTANCE": web,
            "SOUK_INSTANCE_URL": self._url(web),
            "SOUK_VERSION": version(),
        }
        return Program(name, [sys.executable, "-m", "services.sidecar"], told, stop_seconds=20)

    def _consul_access(self) -> dict[str, str]:
        given = self._installation.environment
        names = (f"SOUK_CONSUL_{name}" for name in CONSUL_ACCESS)
        return {"SOUK_CONSUL_URL": self._backing.consul, **{name: given[name] for name in names if name in given}}

    def _url(self, program: str) -> str:
        return f"http://127.0.0.1:{self._port(program)}"

    def _port(self, name: str) -> int:
        return self._installation.ports[name]

    def _process(self, port: int) -> dict[str, str]:
        """What every process is told."""
        return {
            "SOUK_HOST": "127.0.0.1",
            "SOUK_PORT": str(port),
            "PYTHONUNBUFFERED": "1",
            # glibc keeps 8 heaps per core for a process's threads, and what was freed in them; 20 processes cannot afford it.
            "MALLOC_ARENA_MAX": "1",
            "MALLOC_TRIM_THRESHOLD_": "65536",
        }

    def _common(self, port: int) -> dict[str, str]:
        return {
            **self._process(port),
            **self._consul_access(),
            "SOUK_REDIS_URL": self._backing.redis,
            "SOUK_BROKER_URL": self._backing.broker,
            # With Consul neighbours are found there, and another instance more changes nobody's environment.
            "SOUK_SERVICES": "{}" if self._backing.consul else self._addresses(),
            "SOUK_JWT_ISSUER": "souk-users",
            "SOUK_ENVIRONMENT": "development",
            "SOUK_LOG_LEVEL": self._installation.environment.get("SOUK_LOG_LEVEL", "info"),
            "SOUK_FAILPOINTS_DIRECTORY": self._installation.environment.get("SOUK_FAILPOINTS_DIRECTORY", ""),
        }

    def _addresses(self) -> str:
        """SOUK_SERVICES: base URL of one instance of each service."""
        return json.dumps({service: self._url(f"{service}-web") for service in SERVICES})

    def _own(self, service: str) -> dict[str, str]:
        """What only this service is told."""
        state, sandbox_key = self._installation.state, self._installation.secrets.get("sandbox-key")
        webhook_secret = self._installation.secrets.get("sandbox-webhook-secret")
        match service:
            case "users":
                return {"SOUK_REQUEST_SECRET": self._installation.secrets.get("users-requests")}
            case "products":
                return {"SOUK_MONGO_URL": self._backing.mongo, "SOUK_SEARCH_DIRECTORY": str(state.data / "search")}
            case "payments":
                url = f"http://127.0.0.1:{self._port('bank')}"
                keys = {"SOUK_SANDBOX_KEY": sandbox_key, "SOUK_SANDBOX_WEBHOOK_SECRET": webhook_secret}
                return {"SOUK_SANDBOX_URL": url, **keys}
            case "notifications":
                return self._notifications()
            case "bank":
                # Through the edge, as a provider's webhooks come from outside.
                url = f"http://127.0.0.1:{self._port('gateway')}/payments/webhooks/sandbox"
                told = {"SOUK_BANK_WEBHOOK_URL": url, "SOUK_SANDBOX_WEBHOOK_SECRET": webhook_secret}
                return {**told, "SOUK_SANDBOX_KEY": sandbox_key, "SOUK_BANK_DIRECTORY": str(state.data / "bank")}
            case "mailbox":
                port = str(self._port("mailbox-smtp"))
                return {"SOUK_SMTP_PORT": port, "SOUK_MAIL_DIRECTORY": str(state.data / "mails")}
            case "gateway":
                tls = certificate.paths(state, self._installation.environment)
                return {
                    "SOUK_TLS_PORT": str(self._port("gateway-tls")),
                    "SOUK_TLS_CERTIFICATE": str(tls[0]),
                    "SOUK_TLS_KEY": str(tls[1]),
                    "SOUK_ADMIN_PORT": str(self._port("gateway-admin")),
                    "SOUK_KONG_FILE": str(self.kong_file),
                    "SOUK_SERVICES": self._addresses(),
                    "SOUK_PARTNER_KEYS": json.dumps([self._installation.secrets.get("partner-key")]),
                    "SOUK_RATE_LIMITS": self._installation.environment.get("SOUK_RATE_LIMITS", "{}"),
                    # A browser heeds it for every port of this machine's name, and most of them are not ours: an hour.
                    "SOUK_HSTS_SECONDS": self._installation.environment.get("SOUK_HSTS_SECONDS", "3600"),
                }
        return {}

    def _notifications(self) -> dict[str, str]:
        mailbox, given = f"127.0.0.1:{self._port('mailbox-smtp')}", self._installation.environment
        told = {
            "SOUK_SMTP_URL": f"smtp://{mailbox}",
            "SOUK_SMS_URL": f"sandbox://{mailbox}",
            "SOUK_STAFF_ADDRESS": "staff@souk.example",
            "SOUK_PUBLIC_URL": f"http://127.0.0.1:{self._port('gateway')}",
            "SOUK_LINK_KEY": self._installation.secrets.get("link-key"),
            # 32 random bytes in base64url are a private key of P-256, but for one in four thousand million.
            "SOUK_VAPID_KEY": self._installation.secrets.get("vapid-key"),
        }
        bounds = {name: given[name] for name in ("SOUK_ATTEMPT_SECONDS", "SOUK_MAX_PER_HOUR") if name in given}
        return {name: given.get(name, value) for name, value in told.items()} | bounds


def version() -> str:
    """Souk's own."""
    project: str = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    return project
