"""Souk's own programs: command, port, environment."""

import base64
import dataclasses
import hashlib
import json
import os
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher import certificate, mesh, settings
from launcher.errors import LaunchError
from launcher.installation import Installation
from launcher.keys import InstallationKeys
from launcher.manifests import CALLERS, CALLS, ROLES, SERVICES, WITH_CELERY, role_of
from launcher.program import Program
from launcher.state import REPOSITORY
from launcher.supervisor import PYTHON_PROCESS
from operators.keyring.rotation import ALGORITHMS

PORTS: dict[str, int] = {
    "gateway": 8000,
    "gateway-tls": 8443,
    "gateway-admin": 8001,
    "mailbox": 8025,
    "mailbox-smtp": 2525,
    "bank": 0,
    "console-web": 0,
    **dict.fromkeys(ROLES, 0),
}
"""Preferred ports, 0 for any."""

WITHOUT_METRICS = ("gateway", "gateway-tls", "mailbox", "mailbox-smtp", "bank")
"""The gateway's are on the admin port."""

OURS = frozenset(name.partition("-")[0] for name in PORTS)

MAX_INSTANCES = 20

STAFF_EMAIL = "operator@example.com"
"""Of the account that the first `./souk up` makes; its password is among the secrets."""


def instance_names(service: str, count: int) -> list[str]:
    """users-web, users-web-2, ..."""
    return [f"{service}-web", *(f"{service}-web-{number}" for number in range(2, count + 1))]


def sidecar_of(web: str) -> str:
    """users-sidecar-2 for users-web-2."""
    return web.replace("-web", "-sidecar", 1)


def ports_of(replicas: Mapping[str, int]) -> dict[str, int]:
    """With additional instances."""
    more = [name for service, count in replicas.items() for name in instance_names(service, count)]
    return {**PORTS, **{name: 0 for web in more for name in (web, sidecar_of(web))}}


def with_proxies(replicas: Mapping[str, int]) -> list[str]:
    """Programs that have one in a mesh."""
    webs = [name for service in SERVICES for name in instance_names(service, replicas.get(service, 1))]
    return [*webs, "console-web", "gateway"]


@dataclass(frozen=True)
class Backing:
    """Addresses of the servers."""

    databases: Mapping[str, str]
    """By service."""

    mongo: Mapping[str, str]
    """By service."""

    redis: str
    broker: str
    consul: str
    """Empty if none."""

    credentials: Callable[[str], Mapping[str, str]]
    """As in `Stack`, by program."""

    prometheus: str = ""
    """Empty if none."""

    traces: str = ""
    """Empty if none."""

    logs: str = ""
    """Empty if none."""

    data_folders: Sequence[str] = ()
    """Of those on this machine."""


class Services:
    def __init__(self, installation: Installation, backing: Backing) -> None:
        self._installation = installation
        self._backing = backing
        algorithm = installation.environment.get("SOUK_JWT_ALGORITHM") or ALGORITHMS[0]
        if algorithm not in ALGORITHMS:
            raise LaunchError(f"SOUK_JWT_ALGORITHM may be {', '.join(ALGORITHMS)}, not {algorithm}.")
        self.keys = InstallationKeys(installation.state, installation.secrets, CALLERS, ["gateway"], algorithm)

    @property
    def kong_file(self) -> Path:
        """Rendered before the gateway starts."""
        return self._installation.state.path / "kong.yml"

    @property
    def mail_secret(self) -> str:
        return self._installation.secrets["mailbox"][:16]

    def programs(self) -> list[Program]:
        return [
            *(self._program(name, "chassis", "web", f"services.{s}") for s in SERVICES for name in self.instances(s)),
            *(self._sidecar(name) for s in SERVICES for name in self.instances(s) if self._backing.consul),
            *(self._program(f"{s}-worker", "chassis", "worker", f"services.{s}") for s in SERVICES),
            *(self._program(f"{s}-celery", "chassis", "celery", f"services.{s}") for s in WITH_CELERY),
            self._edge(),
            self._program("console-web", "services.console"),
            self._program("bank", "devservers.bank"),
            self._program("mailbox", "devservers.mailbox"),
        ]

    def instances(self, service: str) -> list[str]:
        return instance_names(service, self._installation.replicas.get(service, 1))

    def one_shot(self, service: str, *arguments: str) -> tuple[list[str], dict[str, str]]:
        """Its command and environment."""
        # An operator's, except for what is handed on to the edge.
        own = self._backing.credentials("gateway" if service == "gateway" else "")
        environment = {**os.environ, **self.environment(service, port=0), **self._through_mesh(service), **own}
        return [sys.executable, "-m", *arguments], environment

    @property
    def internal_ca(self) -> Path | None:
        """None unless SOUK_INTERNAL_TLS asks for TLS between services."""
        wanted = self._installation.environment.get("SOUK_INTERNAL_TLS", "").lower()
        if wanted not in ("", "0", "1", "false", "true"):
            raise LaunchError("SOUK_INTERNAL_TLS may be 1 or 0.")
        return certificate.internal_paths(self._installation.state, "ca")[0] if wanted in ("1", "true") else None

    def health_url(self, program: str) -> str:
        """200 once it is ready."""
        if program == "gateway":
            return f"http://{self._installation.address('gateway-admin')}/status"
        return f"{self._url(program)}/health/ready"

    def environment(self, service: str, port: int) -> dict[str, str]:
        """service: also gateway, bank or mailbox."""
        environment = {**self._defaults(service), **self._given(service), **self._common(port)}
        if service in (*SERVICES, "gateway"):
            environment["SOUK_KEYS_FILE"] = str(self.keys.file(service))
        if service in self._backing.databases:
            environment["SOUK_DATABASE_URL"] = self._backing.databases[service]
        if service in self._backing.mongo:
            environment["SOUK_MONGO_URL"] = self._backing.mongo[service]
        return environment | self._development(service)

    @property
    def mailbox_url(self) -> str:
        return f"http://127.0.0.1:{self._port('mailbox')}/{self.mail_secret}/"

    # --- inside

    def _shown(self) -> dict[str, str]:
        """What the start page links to."""
        ports, backing = self._installation.ports, self._backing
        found = {"API over TLS": f"https://localhost:{self._port('gateway-tls')}"}
        if backing.broker.startswith("amqp") and "rabbitmq-management" in ports:
            found["RabbitMQ"] = f"http://127.0.0.1:{ports['rabbitmq-management']}"
        found |= {"Consul": backing.consul} if backing.consul else {}
        found |= {"Prometheus": backing.prometheus} if backing.prometheus else {}
        return found

    def _edge(self) -> Program:
        program = self._program("gateway", "services.gateway")
        return dataclasses.replace(program, reads=[self.kong_file, *program.reads])

    def _program(self, name: str, *arguments: str) -> Program:
        environment = {
            **self.environment(name.partition("-")[0], self._port(name)),
            **self._through_mesh(name),
            **self._backing.credentials(role_of(name)),
        }
        reads = self._trusted()
        if self.internal_ca and role_of(name).endswith("-web"):
            own = certificate.internal_paths(self._installation.state, name.partition("-")[0])
            names = ("SOUK_INTERNAL_CERTIFICATE_FILE", "SOUK_INTERNAL_KEY_FILE")
            environment |= dict(zip(names, map(str, own), strict=True))
            reads += own
        return Program(name, [sys.executable, "-m", *arguments], environment, stop_seconds=20, reads=reads)

    def _sidecar(self, web: str) -> Program:
        """Without its service's secrets."""
        name = sidecar_of(web)
        environment = {
            **self._given("sidecar"),
            **self._process(self._port(name)),
            **self._backing.credentials(role_of(name)),
            "SOUK_CONSUL_URL": self._backing.consul,
            "SOUK_SERVICE": web.partition("-")[0],
            "SOUK_INSTANCE": web,
            "SOUK_INSTANCE_URL": self._url(web),
            "SOUK_VERSION": version(),
            **self._trust(),
        }
        if self._installation.is_meshed:
            environment["SOUK_PROXY_PORT"] = str(self._port(mesh.proxy_of(web)))
        command = [sys.executable, "-m", "services.sidecar"]
        return Program(name, command, environment, stop_seconds=20, reads=self._trusted())

    def _through_mesh(self, program: str) -> dict[str, str]:
        """What it calls is its proxy, which asks Consul."""
        if not self._installation.is_meshed or program.partition("-")[0] not in CALLS:
            return {}
        scheme = "https" if self.internal_ca else "http"
        addresses = mesh.upstreams(program, self._installation.ports)
        urls = {service: f"{scheme}://{address}" for service, address in addresses.items()}
        return {"SOUK_DISCOVERY": "static", "SOUK_CONSUL_URL": "", "SOUK_SERVICES": json.dumps(urls)}

    def _url(self, program: str) -> str:
        scheme = "https" if self.internal_ca and role_of(program).endswith("-web") else "http"
        return f"{scheme}://{self._installation.address(program)}"

    def _trust(self) -> dict[str, str]:
        return {"SOUK_INTERNAL_CA_FILE": str(self.internal_ca)} if self.internal_ca else {}

    def _trusted(self) -> list[Path]:
        """Read once: a program restarts with a new one."""
        return [self.internal_ca] if self.internal_ca else []

    def _port(self, name: str) -> int:
        return self._installation.ports[name]

    def _process(self, port: int) -> dict[str, str]:
        return {
            "SOUK_HOST": "127.0.0.1",
            "SOUK_PORT": str(port),
            **PYTHON_PROCESS,
        }

    def _common(self, port: int) -> dict[str, str]:
        return {
            **self._process(port),
            **self._trust(),
            "SOUK_CONSUL_URL": self._backing.consul,
            "SOUK_VERSION": version(),
            "SOUK_DATA_FOLDERS": json.dumps(list(self._backing.data_folders)),
            "SOUK_SERVICES": "{}" if self._finds_by_consul else self._addresses(),
        }

    @property
    def _finds_by_consul(self) -> bool:
        """Then scaling changes no environment."""
        return bool(self._backing.consul) and self._installation.environment.get("SOUK_DISCOVERY", "") in ("", "consul")

    def _addresses(self) -> str:
        """SOUK_SERVICES: one instance of each."""
        return json.dumps({service: self._url(f"{service}-web") for service in SERVICES})

    def _given(self, program: str) -> dict[str, str]:
        """The installation's settings that the program knows."""
        given = self._installation.environment
        return {name: given[name] for name in settings.names(program) if name in given}

    def _defaults(self, program: str) -> dict[str, str]:
        """The installation's environment may replace them."""
        state, secrets = self._installation.state, self._installation.secrets
        match program:
            case "bank":
                return {
                    # From outside, as a provider's webhooks come.
                    "SOUK_BANK_WEBHOOK_URL": f"{self._url('gateway')}/payments/webhooks/sandbox",
                    "SOUK_BANK_DIRECTORY": str(state.data / "bank"),
                    "SOUK_SANDBOX_KEY": secrets["sandbox-key"],
                    "SOUK_SANDBOX_WEBHOOK_SECRET": secrets["sandbox-webhook-secret"],
                }
            case "mailbox":
                return {"SOUK_MAIL_DIRECTORY": str(state.data / "mails")}
            case "console":
                return {
                    "SOUK_SESSION_KEYS": json.dumps([_fernet_key(secrets["console-session"])]),
                    "SOUK_TRACES_URL": self._backing.traces,
                    "SOUK_LOGS_URL": self._backing.logs,
                }
            case "gateway":
                return {
                    "SOUK_PARTNER_KEYS": json.dumps([secrets["partner-key"]]),
                    # One hour, as HSTS covers every port of a host.
                    "SOUK_HSTS_SECONDS": "3600",
                }
        addresses = {name: self._installation.address(name) for name in self._installation.ports}
        places = {"secret": secrets, "address": addresses, "data": state.data}
        return {name: value.format_map(places) for name, value in SERVICES[program].settings.items()}

    def _development(self, program: str) -> dict[str, str]:
        state, given = self._installation.state, self._installation.environment
        match program:
            case "console":
                return {
                    "SOUK_ADDRESSES": json.dumps(self._shown()),
                    "SOUK_MAILBOX_URL": self.mailbox_url,
                    "SOUK_STAFF_EMAIL": STAFF_EMAIL,
                    "SOUK_PROMETHEUS_URL": self._backing.prometheus,
                    "SOUK_OPENAPI_URL": f"http://127.0.0.1:{self._port('gateway-admin')}/openapi.json",
                }
            case "mailbox":
                return {"SOUK_SMTP_PORT": str(self._port("mailbox-smtp")), "SOUK_MAIL_SECRET": self.mail_secret}
            case "gateway":
                certificate_file, key_file = certificate.paths(state, given)
                return {
                    "SOUK_TLS_PORT": str(self._port("gateway-tls")),
                    "SOUK_TLS_CERTIFICATE": str(certificate_file),
                    "SOUK_TLS_KEY": str(key_file),
                    "SOUK_ADMIN_PORT": str(self._port("gateway-admin")),
                    "SOUK_ADMIN_TOKEN": self._installation.secrets["gateway-admin"],
                    "SOUK_KONG_FILE": str(self.kong_file),
                    "SOUK_EDGE_CONSOLE": f"127.0.0.1:{self._port('console-web')}",
                    "SOUK_SERVICES": self._addresses(),
                }
        return {}


def _fernet_key(secret: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(secret.encode()).digest()).decode()


def version() -> str:
    project: str = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    return project
