"""An upstream that a test can make fail, hang, trickle or hang up, and that records its requests."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from chassis.base.settings import Settings
from chassis.clients import Policy

DEADLINE_SECONDS = 20.0

QUICK = Policy(timeout_seconds=2, try_seconds=0.3, wait_base_seconds=0.001, wait_cap_seconds=0.002, open_seconds=0.2)
"""Short limits, so that tests reach them soon."""

PATIENT = Policy(timeout_seconds=60, try_seconds=60)
"""Long limits, for calls that the test itself ends."""


class Faulty:
    """Responds with `status` and `body`. `hangs`: waits before the response; `dribbles`: waits between its bytes."""

    def __init__(self) -> None:
        self.status, self.body = 200, b'{"well": true}'
        self.response_headers: dict[str, str] = {}
        self.hangs = self.dribbles = self.hangs_up = self.ended = False
        self.seen: list[tuple[str, str, Mapping[str, str], bytes]] = []
        self.arrived = threading.Condition()
        self.released = threading.Event()
        faulty = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: Any) -> None: ...

            def respond(self) -> None:
                self.close_connection = self.close_connection or faulty.ended
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with faulty.arrived:
                    faulty.seen.append((self.command, self.path, dict(self.headers), body))
                    faulty.arrived.notify_all()
                if faulty.hangs_up:
                    self.close_connection = True
                    return
                if faulty.hangs:
                    faulty.released.wait(DEADLINE_SECONDS)
                with suppress(OSError):
                    self.send_response_only(faulty.status)
                    for name, value in faulty.response_headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(faulty.body)))
                    self.end_headers()
                    self.write(faulty.body)

            def write(self, body: bytes) -> None:
                for byte in [body[i : i + 1] for i in range(len(body))] if faulty.dribbles else [body]:
                    self.wfile.write(byte)
                    if faulty.dribbles:
                        faulty.released.wait(0.1)

            do_GET = do_POST = do_PUT = do_DELETE = respond  # noqa: N815 - the base class names them so

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def respond_with(self, value: Any) -> None:
        self.body = json.dumps(value).encode()

    def wait_for(self, count: int) -> None:
        """Wait until `count` requests have arrived."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.seen) >= count, DEADLINE_SECONDS), len(self.seen)


@contextmanager
def faulty() -> Iterator[Faulty]:
    upstream = Faulty()
    threading.Thread(target=upstream.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield upstream
    finally:
        # Connections that clients keep would go on.
        upstream.ended = True
        upstream.released.set()
        upstream.server.shutdown()
        upstream.server.server_close()


def settings_for(*upstreams: Faulty | str, **values: Any) -> Settings:
    """Settings of a caller of the service `upstream`, which has these instances."""
    urls = ",".join(each if isinstance(each, str) else each.url for each in upstreams)
    return Settings(services={"upstream": urls}, api_key="mine", **values)
