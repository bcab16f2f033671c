"""Prometheus: the machine's own, or from apt; optional."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from launcher import apt, probes
from launcher.errors import LaunchError
from launcher.program import Program
from launcher.servers.server import Server
from launcher.state import REPOSITORY

CONFIGURATION = REPOSITORY / "monitoring" / "prometheus.yml"
RULES = REPOSITORY / "monitoring" / "rules"


class Prometheus(Server):
    name = "prometheus"
    title = "Prometheus"
    variable = "SOUK_PROMETHEUS_URL"
    ports = {"prometheus": 9090}  # noqa: RUF012 - a constant of the class
    without = "No Prometheus: metrics are served but not collected. To collect them: apt-get install prometheus."

    def find(self) -> bool:
        if shutil.which("prometheus"):
            return True
        if not apt.is_available():
            return False
        try:
            with self.installation.progress.step("apt-get install prometheus (its system service stays off)"):
                apt.install(["prometheus"], units=["prometheus"])
        except LaunchError as error:
            self.installation.progress.report(str(error))
            return False
        return True

    def prepare(self) -> None:
        self.state.write("prometheus/prometheus.yml", CONFIGURATION.read_text())
        for rules in self._rules():
            self.state.write(f"prometheus/rules/{rules.name}", rules.read_text())

    def programs(self) -> list[Program]:
        folder = self.state.path / "prometheus"
        configuration = folder / "prometheus.yml"
        read = [configuration, *(folder / "rules" / rules.name for rules in self._rules())]
        options = {
            "config.file": configuration,
            "storage.tsdb.path": self.state.data / "prometheus",
            "storage.tsdb.retention.time": "7d",
            "storage.tsdb.retention.size": "500MB",
            "web.listen-address": f"127.0.0.1:{self.port('prometheus')}",
            "log.level": "warn",
        }
        command = ["prometheus", *(f"--{name}={value}" for name, value in options.items())]
        # It works in short bursts.
        return [Program("prometheus", command, {"GOGC": "40", "GOMAXPROCS": "1"}, folder, reads=read)]

    @staticmethod
    def _rules() -> list[Path]:
        return sorted(RULES.glob("*.yml"))

    def own_url(self) -> str:
        return f"http://127.0.0.1:{self.port('prometheus')}"

    def probe(self, url: str) -> None:
        probes.http(f"{url}/-/ready")

    def set_targets(self, targets: Mapping[str, int]) -> None:
        """Metrics ports by program; Prometheus notices the change itself."""
        groups = [
            {"targets": [f"127.0.0.1:{port}"], "labels": {"program": program, "service": program.partition("-")[0]}}
            for program, port in sorted(targets.items())
        ]
        self.state.write_json("prometheus/targets/programs.json", groups)
