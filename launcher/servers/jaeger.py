"""Jaeger, which keeps the newest traces in memory: `./souk up --observe`. Built by Go from its module, once, without its own page.

Its query API has the spans of `./souk trace`.
"""

from pathlib import Path

from launcher import probes
from launcher.go import Module
from launcher.program import Program
from launcher.servers.built import BuiltServer
from launcher.state import REPOSITORY

MAX_TRACES = 1_500
"""Of orders, with 40 spans each, they take 130 MB."""

RECEIVER = "SOUK_OTLP_URL"

CONFIGURATION = """service:
  extensions: [jaeger_storage, jaeger_query]
  pipelines:
    traces: {{receivers: [otlp], exporters: [jaeger_storage_exporter]}}
  telemetry: {{metrics: {{level: none}}, logs: {{level: warn}}}}
extensions:
  jaeger_query:
    storage: {{traces: memory}}
    http: {{endpoint: "{query}"}}
    grpc: {{endpoint: "127.0.0.1:0"}}
  jaeger_storage: {{backends: {{memory: {{memory: {{max_traces: {max_traces}}}}}}}}}
receivers: {{otlp: {{protocols: {{http: {{endpoint: "{receiver}"}}}}}}}}
exporters: {{jaeger_storage_exporter: {{trace_storage: memory}}}}
"""


class Jaeger(BuiltServer):
    name = "jaeger"
    title = "Jaeger"
    module = Module("jaeger", "Jaeger", REPOSITORY / "monitoring" / "jaeger")
    package = "github.com/jaegertracing/jaeger/cmd/jaeger"
    ports = {"jaeger": 16686, "jaeger-otlp": 4318}  # noqa: RUF012
    without = "No Jaeger: ./souk trace shows no spans."

    def programs(self) -> list[Program]:
        file = self.state.write(
            "jaeger.yaml",
            CONFIGURATION.format(
                query=self._local("jaeger"), receiver=self._local("jaeger-otlp"), max_traces=MAX_TRACES
            ),
        )
        command: list[str | Path] = [self.executable, "--config", file]
        environment = {"GOMAXPROCS": "1", "GOMEMLIMIT": "200MiB"}
        return [Program(self.name, command, environment, self.state.path)]

    def credentials(self, program: str) -> dict[str, str]:
        """Where it sends its spans, unless another receiver is given."""
        if not program or self.installation.environment.get(RECEIVER):
            return {}
        return {RECEIVER: f"http://{self._local('jaeger-otlp')}"}

    def own_url(self) -> str:
        return f"http://{self._local('jaeger')}"

    def probe(self, url: str) -> None:
        probes.http(f"{url}/api/services")

    def _local(self, port: str) -> str:
        return f"127.0.0.1:{self.port(port)}"
