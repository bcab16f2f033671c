"""The gateway as a process, for tests."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from launcher.manifests import SERVICES
from tests.gateway.upstream import DEADLINE_SECONDS, Client
from tests.gateway.waiting import until
from tests.ports import free_port

ROOT = Path(__file__).parents[2]


class Process:
    """A gateway on its own ports, with every upstream at `address`."""

    def __init__(self, folder: Path, address: str) -> None:
        self.port, self.admin_port = free_port(), free_port()
        self.environment = {
            "PATH": os.environ["PATH"],
            "SOUK_PORT": str(self.port),
            "SOUK_ADMIN_PORT": str(self.admin_port),
            "SOUK_KONG_FILE": str(folder / "kong.yml"),
            "SOUK_SERVICES": json.dumps(dict.fromkeys(SERVICES, f"http://{address}")),
            "SOUK_JWT_KEYS": '{"k1": "a secret that is long enough for HS256!"}',
            # A WSGI server could mistake this variable for a header.
            "HTTP_X_CONSUMER_USERNAME": "admin",
        }
        render = self.command("services.gateway.config.render", "kong/kong.yml")
        (folder / "kong.yml").write_bytes(subprocess.run(**render, capture_output=True, check=True).stdout)
        self.log = folder / "log"
        self.start()

    def command(self, *arguments: str) -> dict[str, Any]:
        return {"args": [sys.executable, "-m", *arguments], "cwd": ROOT, "env": self.environment}

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(**self.command("services.gateway"), stdout=log, stderr=log)
        until(self.responds, self.log.read_text)

    def responds(self) -> bool:
        try:
            return Client(self.port).get("/nowhere").status == 404
        except OSError:
            return False

    def raw(self, request: bytes) -> bytes:
        """The response until the gateway closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_SECONDS) as connection:
            connection.sendall(request)
            response = b""
            while block := connection.recv(65536):
                response += block
            return response
