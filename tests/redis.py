"""A Redis server of a test's own, which the test can break."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from launcher.servers.redis import find_binary
from tests.installation import until
from tests.ports import free_port

FAILURES = ("down", "hung", "refusing", "read-only", "full")


class Breakable:
    def __init__(self, folder: Path) -> None:
        self.port = port = free_port()
        self.url = f"redis://127.0.0.1:{port}/0"
        command = [find_binary(), "--port", str(port), "--save", "", "--dir", folder]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.client = Redis.from_url(self.url)
        until(self._responds)

    def _responds(self) -> bool:
        with suppress(RedisError):
            return bool(self.client.ping())
        return False

    def fail(self, how: str) -> None:
        """How: one of FAILURES."""
        failures: dict[str, Callable[[], object]] = {
            "down": self.stop,
            "hung": lambda: os.kill(self._process.pid, signal.SIGSTOP),
            # As a server does that has lost its users' file.
            "refusing": lambda: self.client.execute_command("ACL", "SETUSER", "default", "-@all", "+acl"),
            # As after a failover, of what was the primary.
            "read-only": lambda: self.client.replicaof("127.0.0.1", "1"),
            "full": lambda: self.client.config_set("maxmemory", 1),
        }
        failures[how]()

    def recover(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)
        self.client.execute_command("ACL", "SETUSER", "default", "+@all")
        self.client.replicaof("NO", "ONE")
        self.client.config_set("maxmemory", 0)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def breakable(folder: Path) -> Iterator[Breakable]:
    server = Breakable(folder)
    try:
        yield server
    finally:
        server.stop()
