"""MongoDB: the machine's `mongod`, else the wheel SecantusDB."""

import shutil
import sys
from pathlib import Path

from launcher import probes
from launcher.program import Program
from launcher.servers.server import Server


class Mongo(Server):
    name = "mongo"
    variable = "SOUK_MONGO_URL"
    title = "MongoDB"
    ports = {"mongo": 27017}  # noqa: RUF012 - a constant of the class

    def prepare(self) -> None:
        (self.state.data / "mongo").mkdir(mode=0o700, exist_ok=True)

    def programs(self) -> list[Program]:
        folder, port = self.state.data / "mongo", str(self.port("mongo"))
        mongod = shutil.which("mongod")
        command: list[str | Path]
        if mongod:
            command = [
                mongod,
                "--bind_ip",
                "127.0.0.1",
                "--port",
                port,
                "--dbpath",
                folder,
                "--wiredTigerCacheSizeGB",
                "0.25",
            ]
        else:
            command = [_secantus(), "--host", "127.0.0.1", "--port", port, "--storage-path", folder]
            # A change stream that misses 1,000 writes can start over.
            command += ["--cache-size", "32M", "--oplog-max-entries", "1000", "--standalone", "--log-level", "WARNING"]
        return [Program("mongo", command, folder=self.state.data)]

    def own_url(self) -> str:
        return f"mongodb://127.0.0.1:{self.port('mongo')}"

    def probe(self, url: str) -> None:
        probes.mongo(url)


def _secantus() -> Path:
    return Path(sys.executable).parent / "secantusd-py"
