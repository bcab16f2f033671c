"""The table of Souk's own programs: what runs each, where it listens, and what its environment tells it."""

import dataclasses
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.installation import Installation
from launcher.keys import InstallationKeys
from launcher.program import Program

SERVICES = ("users", "products", "orders", "payments", "notifications")
WITH_POSTGRES = ("users", "orders", "payments", "notifications")
WITH_CELERY = ("payments", "notifications")

PORTS: dict[str, int] = {
    "gateway": 8000,
    "gateway-admin": 8001,
    "mailbox": 8025,
    "mailbox-smtp": 2525,
    "bank": 0,
    **{f"{service}-{role}": 0 for service in SERVICES for role in ("web", "worker")},
    **{f"{service}-celery": 0 for service in WITH_CELERY},
}
"""Port by name, with the one that people expect (0: none)."""

METRICS = [name for name in PORTS if name not in ("gateway", "mailbox", "mailbox-smtp", "bank")]
"""Ports that serve /metrics; the gateway's are on its admin port."""


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
            *(self._program(f"{s}-{r}", "chassis", r, f"services.{s}") for s in SERVICES for r in ("web", "worker")),
            *(self._program(f"{s}-celery", "chassis", "celery", f"services.{s}") for s in WITH_CELERY),
            dataclasses.replace(self._program("gateway", "services.gateway"), reads=[self.kong_file]),
            self._program("bank", "services.payments.sandbox"),
            self._program("mailbox", "services.notifications.mailbox"),
        ]

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

    def _port(self, name: str) -> int:
        return self._installation.ports[name]

    def _common(self, port: int) -> dict[str, str]:
        webs = {service: f"http://127.0.0.1:{self._port(f'{service}-web')}" for service in SERVICES}
        return {
            "SOUK_HOST": "127.0.0.1",
            "SOUK_PORT": str(port),
            "SOUK_REDIS_URL": self._backing.redis,
            "SOUK_BROKER_URL": self._backing.broker,
            "SOUK_CONSUL_URL": self._backing.consul,
            "SOUK_DISCOVERY": "static",
            "SOUK_SERVICES": json.dumps(webs),
            "SOUK_JWT_ISSUER": "souk-users",
            "SOUK_ENVIRONMENT": "development",
            "SOUK_LOG_LEVEL": self._installation.environment.get("SOUK_LOG_LEVEL", "info"),
            "SOUK_FAULTS_DIRECTORY": self._installation.environment.get("SOUK_FAULTS_DIRECTORY", ""),
            "PYTHONUNBUFFERED": "1",
            # glibc keeps 8 heaps per core for a process's threads, and what was freed in them; 20 processes cannot afford it.
            "MALLOC_ARENA_MAX": "1",
            "MALLOC_TRIM_THRESHOLD_": "65536",
        }

    def _own(self, service: str) -> dict[str, str]:
        """What only this service is told."""
        state, sandbox_key = self._installation.state, self._installation.secrets.get("sandbox-key")
        webhook_secret = self._installation.secrets.get("sandbox-webhook-secret")
        match service:
            case "users":
                return {"SOUK_REQUEST_SECRET": self._installation.secrets.get("users-requests")}
            case "products":
                return {"SOUK_MONGO_URL": self._backing.mongo}
            case "payments":
                url = f"http://127.0.0.1:{self._port('bank')}"
                keys = {"SOUK_SANDBOX_KEY": sandbox_key, "SOUK_SANDBOX_WEBHOOK_SECRET": webhook_secret}
                return {"SOUK_SANDBOX_URL": url, **keys}
            case "notifications":
                return {"SOUK_SMTP_URL": f"smtp://127.0.0.1:{self._port('mailbox-smtp')}"}
            case "bank":
                # Through the edge, as a provider's webhooks come from outside.
                url = f"http://127.0.0.1:{self._port('gateway')}/payments/webhooks/sandbox"
                told = {"SOUK_BANK_WEBHOOK_URL": url, "SOUK_SANDBOX_WEBHOOK_SECRET": webhook_secret}
                return {**told, "SOUK_SANDBOX_KEY": sandbox_key, "SOUK_BANK_DIRECTORY": str(state.data / "bank")}
            case "mailbox":
                port = str(self._port("mailbox-smtp"))
                return {"SOUK_SMTP_PORT": port, "SOUK_MAIL_DIRECTORY": str(state.data / "mails")}
            case "gateway":
                port = str(self._port("gateway-admin"))
                return {"SOUK_ADMIN_PORT": port, "SOUK_KONG_FILE": str(self.kong_file)}
        return {}
