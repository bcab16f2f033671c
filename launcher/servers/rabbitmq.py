"""RabbitMQ: a separate node; where it cannot be installed, Redis carries the messages, with weaker guarantees."""

import shutil
from pathlib import Path

from launcher import apt, probes
from launcher.errors import LaunchError
from launcher.program import Program
from launcher.servers.server import Server

# Debian's own command allows only root and the user rabbitmq.
SCRIPTS = (Path("/usr/lib/rabbitmq/bin/rabbitmq-server"), Path("/usr/local/sbin/rabbitmq-server"))

# 88 MB instead of 124 MB, and still ready in 5 s.
ERLANG = "+S 1:1 +SDcpu 1:1 +SDio 1 +A 1 +P 65536 +t 262144 +Q 4096 +MMmcs 0"

_CONFIGURATION = """listeners.tcp.default = 127.0.0.1:{amqp}
management.tcp.ip = 127.0.0.1
management.tcp.port = {management}
default_user = souk
default_pass = {password}
log.file = false
log.console = true
log.console.level = warning
vm_memory_high_watermark.absolute = 512MB
disk_free_limit.absolute = 50MB
"""


class RabbitMQ(Server):
    name = "rabbitmq"
    title = "RabbitMQ"
    variable = "SOUK_RABBITMQ_URL"
    ports = {"rabbitmq": 5672, "rabbitmq-management": 15672, "rabbitmq-nodes": 25672, "epmd": 4369}  # noqa: RUF012
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
        values = {"amqp": self.port("rabbitmq"), "management": self.port("rabbitmq-management")}
        self.state.write(
            "data/rabbitmq/rabbitmq.conf", _CONFIGURATION.format(**values, password=self.secret("rabbitmq"))
        )
        self.state.write("data/rabbitmq/enabled_plugins", "[rabbitmq_management].\n")
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
                reads=[self._home / "rabbitmq.conf", self._home / "enabled_plugins"],
                stop_seconds=30,
            ),
        ]

    def own_url(self) -> str:
        return f"amqp://souk:{self.secret('rabbitmq')}@127.0.0.1:{self.port('rabbitmq')}//"

    def probe(self, url: str) -> None:
        probes.rabbitmq(url)

    @property
    def _home(self) -> Path:
        return self.state.data / "rabbitmq"

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


def _server() -> Path | None:
    found = shutil.which("rabbitmq-server")
    return next((script for script in SCRIPTS if script.exists()), Path(found) if found else None)
