"""The log shipper sends every entry of every program, over restarts, rotations and failures of its receiver."""

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.logs import rotated
from launcher.shipping import Shipper
from launcher.state import StateFolder

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
UNAUTHORIZED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
REFUSED = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
NO_HTTP = b"nonsense\r\n"
NOTHING = b""


class Receiver(socketserver.ThreadingTCPServer):
    """Takes log entries, after `responses`, and refuses batches with one called "bad"."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.responses: list[bytes] = []
        self.taken: list[str] = []


class _Handler(socketserver.StreamRequestHandler):
    server: Receiver

    def handle(self) -> None:
        length = 0
        while (line := self.rfile.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        body = self.rfile.read(length)
        usual = REFUSED if b'"bad"' in body else OK
        response = self.server.responses.pop(0) if self.server.responses else usual
        if response == OK:
            self.server.taken += [
                entry["event"] for entry in map(json.loads, body.splitlines()) if entry["time"] > "2000"
            ]
        self.wfile.write(response)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        yield receiver
        receiver.shutdown()


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    state = StateFolder(tmp_path)
    state.make()
    return state


@pytest.fixture
def write(state: StateFolder) -> Callable[..., Path]:
    def write(program: str, hour: int, *events: str) -> Path:
        log = state.logs / f"{program}.log"
        with open(log, "a") as file:
            for event in events:
                file.write(json.dumps({"timestamp": f"2026-11-29T{hour}:00:00Z", "event": event}) + "\n")
        return log

    return write


@pytest.fixture
def start(state: StateFolder, receiver: Receiver) -> Callable[[], Shipper]:
    return lambda: Shipper(state, receiver.url, retry_seconds=0)


def test_a_start_goes_on_where_each_log_was_left(
    start: Callable[[], Shipper], write: Callable[..., Path], receiver: Receiver
) -> None:
    """Also in one whose clock is behind that of another."""
    write("web", 12, "a")
    write("worker", 10, "b")
    start().ship()
    log = write("worker", 10, "c")
    log.rename(rotated(log))
    write("worker", 10, "d")
    write("web", 12, "e")
    shipper = start()
    shipper.ship()
    write("late", 9, "f")
    shipper.ship()
    start().ship()
    assert sorted(receiver.taken) == ["a", "b", "c", "d", "e", "f"]


@pytest.mark.parametrize("failure", [UNAVAILABLE, UNAUTHORIZED, NOT_FOUND, NO_HTTP, NOTHING])
def test_what_its_receiver_could_not_take_is_sent_again(
    start: Callable[[], Shipper], write: Callable[..., Path], receiver: Receiver, failure: bytes
) -> None:
    events = [str(number) for number in range(2_500)]
    write("web", 10, *events)
    receiver.responses = [OK, failure, failure]
    shipper = start()
    while shipper.ship():
        pass
    assert receiver.taken == events


def test_refused_entries_do_not_hold_up_others(
    start: Callable[[], Shipper], write: Callable[..., Path], receiver: Receiver
) -> None:
    write("web", 10, "a", "b", "bad", "c")
    shipper = start()
    shipper.ship()
    write("web", 10, "d")
    shipper.ship()
    start().ship()
    assert receiver.taken == ["a", "b", "c", "d"]


def test_text_without_a_time_is_of_now(start: Callable[[], Shipper], state: StateFolder, receiver: Receiver) -> None:
    (state.logs / "mailbox.log").write_text("ready\n")
    shipper = start()
    shipper.ship()
    shipper.ship()
    assert receiver.taken == ["ready"]
