"""SecantusDB with passwords: `python -m launcher.secantus USERS FOLDER PORT [HOST]`.

Its own command makes users only over the network, before anybody needs a password.
"""

import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from secantus.auth import derive_credentials
from secantus.server import SecantusDBServer

MECHANISM = "SCRAM-SHA-256"


class ExitOnPanic(logging.Handler):
    """After an error of the disk WiredTiger serves nothing until it is started again; SecantusDB logs that and goes on."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and "WT_PANIC" in str(record.exc_info[1]):
            os._exit(1)


def main(users: str, folder: str, port: str, host: str = "127.0.0.1") -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger().addHandler(ExitOnPanic())
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    server = SecantusDBServer(
        host,
        int(port),
        folder,
        replica_set_name=None,
        require_auth=True,
        enable_test_commands=False,
        cache_size="32M",
        # A change stream that misses 1,000 writes can start over.
        oplog_max_entries=1_000,
    )
    for user in json.loads(Path(users).read_text())["users"]:
        server.storage.add_user(user["database"], user["name"], _record(**user), replace=True)
    server.start()
    stopping.wait()
    server.stop()


def _record(name: str, password: str, database: str, role: str) -> dict[str, object]:
    """As createUser would store it."""
    return {
        "_id": f"{database}.{name}",
        "user": name,
        "db": database,
        "credentials": derive_credentials(password, mechanism=MECHANISM, username=name).to_doc(),
        "roles": [{"role": role, "db": database}],
        "mechanisms": [MECHANISM],
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
