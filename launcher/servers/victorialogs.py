"""VictoriaLogs, which collects and searches logs, with its own page: `./souk up --observe`. Built by Go from its module, once."""

import sys

from launcher import probes
from launcher.errors import LaunchError
from launcher.go import Module
from launcher.program import Program
from launcher.servers.server import Server
from launcher.state import REPOSITORY

BUILT = Module("observe", "VictoriaLogs", REPOSITORY / "monitoring" / "observe")
PACKAGE = "github.com/VictoriaMetrics/VictoriaLogs/app/victoria-logs"


class VictoriaLogs(Server):
    name = "victorialogs"
    title = "VictoriaLogs"
    variable = ""
    ports = {"victorialogs": 9428, "log-shipper": 0}  # noqa: RUF012
    without = "No VictoriaLogs: ./souk logs reads the files."

    def find(self) -> bool:
        try:
            with BUILT.built([PACKAGE], self.installation.progress):
                return True
        except LaunchError as error:
            self.installation.progress.report(str(error))
            return False

    def programs(self) -> list[Program]:
        options = {
            "httpListenAddr": f"127.0.0.1:{self.port('victorialogs')}",
            "storageDataPath": self.state.data / "victorialogs",
            "retentionPeriod": "7d",
            # A line of MAX_LINE_BYTES, escaped.
            "insert.maxLineSizeBytes": "8MB",
            "retention.maxDiskSpaceUsageBytes": "500MB",
            "memory.allowedPercent": "5",
            "loggerLevel": "WARN",
        }
        shipper = [sys.executable, "-m", "launcher.shipping", self.own_url(), str(self.port("log-shipper"))]
        return [
            Program("log-shipper", shipper, {"SOUK_STATE_DIR": str(self.state.path)}),
            Program(
                self.name,
                [BUILT.folder / "victoria-logs", *(f"-{name}={value}" for name, value in options.items())],
                {"GOMAXPROCS": "1"},
                self.state.path,
            ),
        ]

    def own_url(self) -> str:
        return f"http://127.0.0.1:{self.port('victorialogs')}"

    def probe(self, url: str) -> None:
        probes.http(f"{url}/health")
