"""Prometheus with Alertmanager and exporters: the machine's own, or from apt; optional."""

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from launcher import apt, probes
from launcher.errors import LaunchError
from launcher.program import Program
from launcher.servers.consul import Consul
from launcher.servers.postgres import Postgres
from launcher.servers.redis import MONITOR, Redis
from launcher.servers.server import Server
from launcher.state import REPOSITORY

MONITORING = REPOSITORY / "monitoring"

HELPERS = {
    "alertmanager": "alerts are evaluated but not delivered",
    "postgres-exporter": "PostgreSQL is not measured",
    "redis-exporter": "Redis is not measured",
}
"""Debian's prometheus-*, and what is missing without."""

# They work in short bursts.
GO = {"GOGC": "40", "GOMAXPROCS": "1"}


class Prometheus(Server):
    name = "prometheus"
    title = "Prometheus"
    variable = "SOUK_PROMETHEUS_URL"
    ports = {"prometheus": 9090, "alertmanager": 9093, "postgres-exporter": 0, "redis-exporter": 0}  # noqa: RUF012
    without = (
        "No Prometheus: metrics are served but not collected. To collect them: apt-get install prometheus "
        "prometheus-alertmanager."
    )

    def find(self) -> bool:
        wanted = [name for name in ("prometheus", *map(_package, HELPERS)) if not shutil.which(name)]
        if wanted and apt.is_available():
            try:
                with self.installation.progress.step(f"apt-get install {' '.join(wanted)} (system services stay off)"):
                    apt.install(wanted, units=wanted)
            except LaunchError as error:
                self.installation.progress.report(str(error))
        if not shutil.which("prometheus"):
            return False
        for name, lack in HELPERS.items():
            if not shutil.which(_package(name)):
                self.installation.progress.report(f"No {_package(name)}: {lack}. apt-get install {_package(name)}")
        return True

    def prepare(self) -> None:
        for file in ("prometheus.yml", "postgres-queries.yml"):
            self.state.write(f"prometheus/{file}", (MONITORING / file).read_text())
        for rules in _rules():
            self.state.write(f"prometheus/rules/{rules.name}", rules.read_text())
        # Prometheus cannot watch a folder that comes later.
        (self._folder / "targets").mkdir(mode=0o700, exist_ok=True)
        self.state.write("prometheus/consul-token", Consul(self.installation).metrics_token)
        self.state.write_json("prometheus/alertmanager.json", self._alertmanager())
        self.state.write_json("prometheus/redis-passwords.json", Redis(self.installation).monitor)

    def programs(self) -> list[Program]:
        commands = {name: command for name, command in self._helpers().items() if shutil.which(_package(name))}
        helpers = [
            Program(
                name, [_package(name), *command], GO | self._credentials(name), self._folder, reads=self._read(name)
            )
            for name, command in commands.items()
        ]
        options = {
            "config.file": self._folder / "prometheus.yml",
            "storage.tsdb.path": self.state.data / "prometheus",
            "storage.tsdb.retention.time": "7d",
            "storage.tsdb.retention.size": "500MB",
            "web.listen-address": self.address("prometheus"),
            "log.level": "warn",
            # Those of latencies lead to traces.
            "enable-feature": "exemplar-storage",
        }
        command = ["prometheus", *(f"--{name}={value}" for name, value in options.items())]
        return [*helpers, Program("prometheus", command, GO, self._folder, reads=self._read("prometheus"))]

    def own_url(self) -> str:
        return f"http://{self.address('prometheus')}"

    def probe(self, url: str) -> None:
        probes.http(f"{url}/-/ready")

    def set_targets(self, programs: Mapping[str, int], servers: Collection[str], secure: Collection[str] = ()) -> None:
        """Metrics ports by program; servers: those that run here; secure: programs with TLS.

        Prometheus notices the change itself.
        """
        helpers = {program.name for program in self.programs()}
        redis = {"exporter": self.address("redis-exporter")}
        targets = {
            "programs": [
                _target(
                    f"127.0.0.1:{port}",
                    program=program,
                    app=program.partition("-")[0],
                    **({"__scheme__": "https"} if program in secure else {}),
                )
                for program, port in sorted(programs.items())
            ],
            "rabbitmq": [_target(self.address("rabbitmq-metrics"), program="rabbitmq")]
            if "rabbitmq" in servers
            else [],
            "consul": [_target(self.address("consul"), program="consul")] if "consul" in servers else [],
            "postgres": [_target(self.address("postgres-exporter"), program="postgres")]
            if "postgres-exporter" in helpers
            else [],
            "redis": [_target(self.address(name), program=name, **redis) for name in Redis.ports]
            if "redis-exporter" in helpers
            else [],
            "alertmanager": [_target(self.address("alertmanager"))] if "alertmanager" in helpers else [],
            "monitoring": [
                _target(self.address(name), program=name) for name in ("prometheus", "alertmanager") if name in helpers
            ],
        }
        for name, groups in targets.items():
            self.state.write_json(f"prometheus/targets/{name}.json", groups)

    # --- inside

    @property
    def _folder(self) -> Path:
        return self.state.path / "prometheus"

    def _helpers(self) -> dict[str, list[str]]:
        """Arguments of each that has something to do."""
        listen = {name: f"--web.listen-address={self.address(name)}" for name in HELPERS}
        helpers = {
            "alertmanager": [
                listen["alertmanager"],
                f"--config.file={self._folder / 'alertmanager.json'}",
                f"--storage.path={self.state.data / 'alertmanager'}",
                # Alone.
                "--cluster.listen-address=",
                "--log.level=warn",
            ]
        }
        if not Postgres(self.installation).given:
            helpers["postgres-exporter"] = [
                listen["postgres-exporter"],
                "--disable-default-metrics",
                "--disable-settings-metrics",
                "--no-collector.database",
                "--no-collector.bgwriter",
                f"--extend.query-path={self._folder / 'postgres-queries.yml'}",
                "--log.level=error",
            ]
        if not Redis(self.installation).given:
            helpers["redis-exporter"] = [
                listen["redis-exporter"].removeprefix("-"),
                "-redis-only-metrics",
                f"-redis.user={MONITOR}",
                f"-redis.password-file={self._folder / 'redis-passwords.json'}",
            ]
        return helpers

    def _credentials(self, helper: str) -> dict[str, str]:
        if helper != "postgres-exporter":
            return {}
        return {"DATA_SOURCE_NAME": f"{Postgres(self.installation).monitor_url}?sslmode=disable"}

    def _read(self, program: str) -> list[Path]:
        match program:
            case "prometheus":
                rules = [self._folder / "rules" / rules.name for rules in _rules()]
                return [self._folder / "prometheus.yml", self._folder / "consul-token", *rules]
            case "alertmanager":
                return [self._folder / "alertmanager.json"]
            case "postgres-exporter":
                return [self._folder / "postgres-queries.yml"]
            case "redis-exporter":
                return [self._folder / "redis-passwords.json"]
        return []

    def _alertmanager(self) -> dict[str, Any]:
        """JSON is YAML."""
        given = self.installation.environment
        configuration: dict[str, Any] = yaml.safe_load((MONITORING / "alertmanager.yml").read_text())
        smtp = self.installation.ports.get("mailbox-smtp")
        mail = {
            "to": given.get("SOUK_ALERT_EMAIL") or "operators@souk.localhost",
            "from": "alerts@souk.localhost",
            "smarthost": f"127.0.0.1:{smtp}",
            "require_tls": False,
        }
        webhook = given.get("SOUK_ALERT_WEBHOOK_URL")
        for receiver in configuration["receivers"]:
            if smtp and "email_configs" in receiver:
                receiver["email_configs"] = [each | mail for each in receiver["email_configs"]]
            else:
                receiver.pop("email_configs", None)
            if webhook:
                receiver["webhook_configs"] = [{"url": webhook, "send_resolved": True}]
        return configuration


def _package(helper: str) -> str:
    return f"prometheus-{helper}"


def _target(address: str, **labels: str) -> dict[str, Any]:
    return {"targets": [address], "labels": labels}


def _rules() -> list[Path]:
    return sorted((MONITORING / "rules").glob("*.yml"))
