"""VictoriaLogs, which collects and searches logs, with its own page: `./souk up --observe`. Built by Go from its module, once."""

import sys

from launcher import probes
from launcher.go import Module
from launcher.program import Program
from launcher.servers.built import BuiltServer
from launcher.state import REPOSITORY


class VictoriaLogs(BuiltServer):
    name = "victorialogs"
    title = "VictoriaLogs"
    module = Module("observe", "VictoriaLogs", REPOSITORY / "monitoring" / "observe")
    package = "github.com/VictoriaMetrics/VictoriaLogs/app/victoria-logs"
    ports = {"victorialogs": 9428, "log-shipper": 0}  # noqa: RUF012
    without = "No VictoriaLogs: ./souk logs reads the files."

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
                [self.executable, *(f"-{name}={value}" for name, value in options.items())],
                {"GOMAXPROCS": "1"},
                self.state.path,
            ),
        ]

    def own_url(self) -> str:
        return f"http://127.0.0.1:{self.port('victorialogs')}"

    def probe(self, url: str) -> None:
        probes.http(f"{url}/health")
