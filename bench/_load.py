"""A load generator: `python -m bench._load '{"port": 8000, ...}'` prints measurements as JSON.

Of a response it parses only the length.
"""

import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import uvloop


@dataclass
class Plan:
    port: int
    clients: int
    seconds: float
    path: str = "/"
    headers: dict[str, str] = field(default_factory=dict)
    idle: int = 0
    """Connections that are idle between a first and a last request."""


@dataclass
class Outcome:
    milliseconds: list[float]
    seconds: float
    errors: int
    statuses: dict[str, int]
    processor_seconds: float
    idle_kept: int


class Client(asyncio.Protocol):
    def __init__(self, request: bytes) -> None:
        self._request = request
        self._transport: asyncio.WriteTransport
        self._buffer = b""
        self._sent_at = 0.0
        self.repeats = True
        self.milliseconds: list[float] = []
        self.statuses: dict[str, int] = {}
        self.is_idle = asyncio.Event()
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports are not registered as asyncio's

    def send(self) -> None:
        self.is_idle.clear()
        self._sent_at = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0 or len(self._buffer) < head_end + 4 + _length(self._buffer[:head_end]):
            return
        self.milliseconds.append((time.perf_counter() - self._sent_at) * 1_000)
        status = self._buffer[9:12].decode()
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self._buffer = b""
        if self.repeats:
            self.send()
        else:
            self.is_idle.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        self.is_idle.set()

    def close(self) -> None:
        self._transport.close()


def _length(head: bytes) -> int:
    place = head.lower().find(b"content-length:")
    return int(head[place + 15 :].split(b"\r\n", 1)[0]) if place >= 0 else 0


async def run(plan: Plan) -> Outcome:
    lines = [f"GET {plan.path} HTTP/1.1", f"Host: 127.0.0.1:{plan.port}", "User-Agent: souk-bench", "Accept: */*"]
    request = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in plan.headers.items()), "", ""]).encode()
    idle = list[Client]()
    while len(idle) < plan.idle:
        # Send at once: the gateway closes silent connections.
        some = await _connect(plan, request, min(100, plan.idle - len(idle)))
        for client in some:
            client.repeats = False
        await _send_each(some)
        idle += some
    active = await _connect(plan, request, plan.clients)
    started, processor = time.perf_counter(), time.process_time()
    for client in active:
        client.send()
    await asyncio.sleep(plan.seconds)
    seconds, processor = time.perf_counter() - started, time.process_time() - processor
    for client in active:
        client.repeats = False
    async with asyncio.timeout(60):
        await asyncio.gather(*(client.is_idle.wait() for client in active))
    await _send_each(idle)
    statuses: dict[str, int] = {}
    for client in [*active, *idle]:
        for status, count in client.statuses.items():
            statuses[status] = statuses.get(status, 0) + count
    milliseconds = [each for client in active for each in client.milliseconds]
    lost = sum(client.is_lost for client in [*active, *idle])
    kept = sum(not client.is_lost and client.statuses.get("200") == 2 for client in idle)
    return Outcome(milliseconds, seconds, lost, statuses, processor, kept)


async def _send_each(clients: list[Client]) -> None:
    """In batches: idle connections are not for load."""
    for start in range(0, len(clients), 100):
        some = clients[start : start + 100]
        for client in some:
            client.send()
        async with asyncio.timeout(60):
            await asyncio.gather(*(client.is_idle.wait() for client in some))


async def _connect(plan: Plan, request: bytes, count: int) -> list[Client]:
    loop, clients = asyncio.get_running_loop(), list[Client]()
    for _ in range(count):
        _, client = await loop.create_connection(lambda: Client(request), "127.0.0.1", plan.port)
        clients.append(client)
    return clients


def drive(plan: Plan) -> Outcome:
    command = [sys.executable, "-m", "bench._load", json.dumps(asdict(plan))]
    printed = subprocess.run(command, capture_output=True, check=True).stdout
    content: Mapping[str, object] = json.loads(printed)
    return Outcome(**content)  # type: ignore[arg-type]


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(json.dumps(asdict(uvloop.run(run(Plan(**json.loads(sys.argv[1])))))))
