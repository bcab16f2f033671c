"""The web process stops cleanly while it hashes passwords for clients that disconnected."""

import json
import socket
from urllib.parse import urlsplit

import urllib3
from sqlalchemy import text

from tests.installation import until

LOGINS = 4


def begin_login(address: str, number: int) -> socket.socket:
    """Sends a login without waiting for the response."""
    body = json.dumps({"email": f"other{number}@example.com", "password": "wrong password"}).encode()
    head = f"POST /users/login HTTP/1.1\r\nHost: users\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    port = urlsplit(address).port
    assert port is not None
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.sendall(f"{head}\r\n".encode() + body)
    return connection


def in_flight(address: str) -> int:
    count: int = urllib3.request("GET", f"{address}/health/ready").json()["in_flight"]
    return count


def failures(users) -> int:
    with users.store.engine.connect() as connection:
        return connection.scalar(text("SELECT count(*) FROM security_events WHERE kind = 'login.failed'"))


def test_logins_whose_clients_disconnected_finish_before_the_process_ends(start, users):
    process = start(
        argon2_passes=20, hash_niceness=0, request_timeout_seconds=60
    )  # a fifth of a second each, one at a time
    connections = [begin_login(process.address, number) for number in range(LOGINS)]
    until(lambda: in_flight(process.address) == LOGINS)
    for connection in connections:
        connection.close()
    assert process.stop() == 0, process.output.read_text()
    assert failures(users) == LOGINS
