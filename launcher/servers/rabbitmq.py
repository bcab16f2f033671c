"""RabbitMQ: a separate node; where it cannot be installed, Redis carries the messages, with weaker guarantees.

Each program that sends or receives has a user of its own: it may declare its service's queues, and exchange with others only
messages of the types in its manifest.
"""

import base64
import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

from launcher import apt, probes
from launcher.errors import LaunchError
from launcher.manifests import ROLES, SERVICES
from launcher.program import Program
from launcher.servers.server import Server

# Debian's own command allows only root and the user rabbitmq.
SCRIPTS = (Path("/usr/lib/rabbitmq/bin/rabbitmq-server"), Path("/usr/local/sbin/rabbitmq-server"))

# 88 MB instead of 124 MB, and still ready in 5 s.
ERLANG = "+S 1:1 +SDcpu 1:1 +SDio 1 +A 1 +P 65536 +t 262144 +Q 4096 +MMmcs 0"

_CONFIGURATION = """listeners.tcp.default = {listen}:{amqp}
management.tcp.ip = {listen}
management.tcp.port = {management}
prometheus.tcp.ip = {listen}
prometheus.tcp.port = {metrics}
load_definitions = {definitions}
log.file = false
log.console = true
log.console.level = warning
vm_memory_high_watermark.absolute = 512MB
disk_free_limit.absolute = 50MB
"""


PLUGINS = "[rabbitmq_management,rabbitmq_prometheus].\n"

OPERATOR = "souk"
VHOST = "/"
EXCHANGE, UNROUTED = "souk", "souk.unrouted"
"""As in chassis/messaging/broker.py."""


class RabbitMQ(Server):
    name = "rabbitmq"
    title = "RabbitMQ"
    variable = "SOUK_RABBITMQ_URL"
    ports = {  # noqa: RUF012 - a constant of the class
        "rabbitmq": 5672,
        "rabbitmq-management": 15672,
        "rabbitmq-nodes": 25672,
        "epmd": 4369,
        "rabbitmq-metrics": 0,
    }
    start_seconds = 60.0
    without = (
        "NOTE: no RabbitMQ, so Redis carries the messages, without publisher confirms, delayed retries or dead-letter "
        "queues. To have those: apt-get install rabbitmq-server, or set SOUK_RABBITMQ_URL."
    )

    supported = (4, 1)
    instead = "no longer supported; install RabbitMQ 4.1 or later, or set SOUK_RABBITMQ_URL."

    def version(self) -> str:
        return probes.rabbitmq(self.url)

    def find(self) -> bool:
        if _server():
            return True
        if not apt.is_available():
            return False
        with self.installation.progress.step("apt-get install rabbitmq-server (its system service stays off)"):
            try:
                apt.install(["rabbitmq-server"], units=["rabbitmq-server"])
            except LaunchError as error:
                raise LaunchError(f"{error} To run without it: SOUK_WITHOUT=rabbitmq ./souk up") from error
        return True

    def prepare(self) -> None:
        for folder in (self._home, self._home / "base", self._home / "log"):
            folder.mkdir(mode=0o700, exist_ok=True)
        self.state.write("data/rabbitmq/rabbitmq.conf", self.configuration("127.0.0.1", self._definitions_file))
        self.state.write_json("data/rabbitmq/definitions.json", self.definitions())
        self.state.write("data/rabbitmq/enabled_plugins", PLUGINS)
        cookie = self._home / ".erlang.cookie"
        cookie.unlink(missing_ok=True)
        self.state.write("data/rabbitmq/.erlang.cookie", self.secret("erlang-cookie"))
        cookie.chmod(0o400)

    def programs(self) -> list[Program]:
        server = _server()
        assert server
        mapper = ["epmd", "-port", str(self.port("epmd")), "-address", "127.0.0.1"]
        return [
            # Nothing would restart Erlang's own epmd.
            Program("epmd", mapper, folder=self._home),
            Program(
                "rabbitmq",
                [server],
                self._environment(),
                self._home,
                reads=[self._home / "rabbitmq.conf", self._home / "enabled_plugins", self._definitions_file],
                stop_seconds=30,
            ),
        ]

    def own_url(self) -> str:
        return self._url(OPERATOR)

    def probe(self, url: str) -> None:
        probes.rabbitmq(url)

    def credentials(self, program: str) -> dict[str, str]:
        if program in ("", *_USERS):
            return {"SOUK_BROKER_URL": self.given or self._url(program or OPERATOR)}
        return {}

    def configuration(self, listen: str, definitions: Path) -> str:
        ports = {
            "amqp": self.port("rabbitmq"),
            "management": self.port("rabbitmq-management"),
            "metrics": self.port("rabbitmq-metrics"),
        }
        return _CONFIGURATION.format(**ports, listen=listen, definitions=definitions)

    def definitions(self) -> dict[str, Any]:
        """Of users and their rights. Imported at every start."""
        everything = dict.fromkeys(("configure", "write", "read"), ".*")
        users = [self._user(OPERATOR, "administrator"), *(self._user(program, "") for program in _USERS)]
        permissions = [{"user": OPERATOR, "vhost": VHOST, **everything}, *map(_permissions, _USERS)]
        return {
            "vhosts": [{"name": VHOST}],
            "users": users,
            "permissions": permissions,
            "topic_permissions": list(map(_topics, _USERS)),
        }

    # --- inside

    @property
    def _home(self) -> Path:
        return self.state.data / "rabbitmq"

    @property
    def _definitions_file(self) -> Path:
        return self._home / "definitions.json"

    def _user(self, name: str, tags: str) -> dict[str, str]:
        password = self._password(name).encode()
        salt = hashlib.sha256(b"salt" + password).digest()[:4]
        digest = base64.b64encode(salt + hashlib.sha256(salt + password).digest()).decode()
        return {
            "name": name,
            "password_hash": digest,
            "hashing_algorithm": "rabbit_password_hashing_sha256",
            "tags": tags,
        }

    def _password(self, user: str) -> str:
        return self.secret("rabbitmq" if user == OPERATOR else f"{user}-rabbitmq")

    def _url(self, user: str) -> str:
        return f"amqp://{user}:{self._password(user)}@{self.address('rabbitmq')}//"

    def _environment(self) -> dict[str, str]:
        home = self._home
        return {
            "HOME": str(home),
            "ERL_EPMD_PORT": str(self.port("epmd")),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            # Not every machine resolves `localhost`; a name with dots is a long one.
            "RABBITMQ_NODENAME": "souk@127.0.0.1",
            "RABBITMQ_USE_LONGNAME": "true",
            "ERL_CRASH_DUMP_SECONDS": "0",
            "RABBITMQ_DIST_PORT": str(self.port("rabbitmq-nodes")),
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(home / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(home / "rabbitmq-env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(home / "feature_flags"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(home / "generated"),
            "RABBITMQ_MNESIA_BASE": str(home / "base"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(home / "pid"),
            # Else the script stays as Erlang's parent, and leaves it behind when killed.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-noinput -start_epmd false "
            f"-kernel inet_dist_use_interface {{127,0,0,1}} {ERLANG}",
        }


_USERS = {program: service for program, service in ROLES.items() if not program.endswith("-sidecar")}
"""The service of each."""


def _permissions(program: str) -> dict[str, str]:
    """Declaring needs `configure`; binding a queue, `write` to it and `read` of the exchange."""
    service = _USERS[program]
    if program.endswith("-web"):
        # To look at dead letters, and to put them back into a queue of the service.
        rights = {"configure": "^$", "write": _any_of(service), "read": _any_of(f"{service}.dead")}
        return {"user": program, "vhost": VHOST, **rights}
    if program.endswith("-celery"):
        own = _any_of(service, f"{service}.celery")
    else:
        retries = rf"{re.escape(service)}\.retry\.[0-9]+ms"
        own = _any_of(EXCHANGE, UNROUTED, service, f"{service}.dead", f"{service}.celery", more=retries)
    return {"user": program, "vhost": VHOST, **dict.fromkeys(("configure", "write", "read"), own)}


def _topics(program: str) -> dict[str, str]:
    """Types of messages as routing keys."""
    manifest = SERVICES[_USERS[program]]
    sends, receives = (manifest.publishes, manifest.handles) if program.endswith("-worker") else ((), ())
    return {
        "user": program,
        "vhost": VHOST,
        "exchange": EXCHANGE,
        "write": _any_of(*sends),
        "read": _any_of(*receives),
    }


def _any_of(*names: str, more: str = "") -> str:
    """A regular expression for exactly these; without any, for nothing."""
    return f"^({'|'.join([*map(re.escape, names), *filter(None, [more])])})$"


def _server() -> Path | None:
    found = shutil.which("rabbitmq-server")
    return next((script for script in SCRIPTS if script.exists()), Path(found) if found else None)
