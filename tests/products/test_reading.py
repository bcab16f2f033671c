"""What customers read: cached for a moment, invalidated by changes, available even without the database."""

import json
import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import urllib3

from contracts.stock import ReserveStock
from services.products import cache
from services.products.models import Product
from tests.conftest import JWT_KEYS, PATIENT, free_port, server_url
from tests.installation import until
from tests.products.conftest import described

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 60


def test_the_edge_may_cache_for_what_is_left_of_the_freshness(http, add, customer, staff):
    path = f"/products/{add()['id']}"
    for url in (path, "/products/", "/products/search?q=kettle", "/products/categories"):
        for headers in ({}, customer):
            response = http.get(url, headers=headers)
            assert response.headers["Cache-Control"] == "public, max-age=2"
            assert 0 <= int(response.headers["Age"]) <= 2
            assert "Authorization" in response.headers["Vary"]
            assert http.get(url, headers={**headers, "If-None-Match": response.headers["ETag"]}).status_code == 304
        assert http.get(url, headers=staff).headers["Cache-Control"] == "no-store"
    assert http.get(f"/products/{uuid4()}").headers["Cache-Control"] == "no-store"


def test_a_change_is_seen_at_once(http, add, staff):
    made = add(name="Kettle")
    path = f"/products/{made['id']}"
    urls = [path, "/products/", "/products/search?q=kettle", "/products/categories"]
    before = [http.get(url).json for url in urls]
    http.put(path, json=described(sku=made["sku"], name="Tin kettle", category="tin"), headers=staff)
    after = [http.get(url).json for url in urls]
    assert all(one != other for one, other in zip(before, after, strict=True))
    assert after[0]["name"] == after[1]["items"][0]["name"] == after[2]["items"][0]["name"] == "Tin kettle"
    http.delete(path, headers=staff)
    assert http.get(path).status_code == 404
    assert http.get("/products/search?q=kettle").json["items"] == []


def test_a_stock_move_is_seen_at_once(http, stocked, deliver):
    (cups,) = stocked(5)
    assert http.get(f"/products/{cups}").json["stock_quantity"] == 5
    deliver(ReserveStock(uuid4(), {cups: 2}))
    assert http.get(f"/products/{cups}").json["stock_quantity"] == 3


def test_nothing_a_customer_sees_is_older_than_promised(http, stocked):
    (cups,) = stocked(5)
    assert http.get(f"/products/{cups}").json["stock_quantity"] == 5
    # As if the invalidation had been lost.
    Product.objects(id=str(cups)).update_one(set__stock_quantity=4)
    until(lambda: http.get(f"/products/{cups}").json["stock_quantity"] == 4, cache.FRESH_SECONDS + 1)


def test_orders_never_read_the_cache(http, stocked):
    (cups,) = stocked(5)
    http.get(f"/products/{cups}")
    Product.objects(id=str(cups)).update_one(set__stock_quantity=4)
    response = http.get(f"/internal/products?ids={cups}", headers={"X-API-Key": "orders-key"})
    assert response.json["items"][0]["stock_quantity"] == 4


# --- while the database is unavailable


class Proxy(socketserver.ThreadingTCPServer):
    """A proxy to the database, whose connections may be cut."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, to: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.to = to
        self.is_closed = False
        self.sockets: list[socket.socket] = []

    def close_connections(self) -> None:
        self.is_closed = True
        for each in self.sockets:
            each.close()


class _Tunnel(socketserver.BaseRequestHandler):
    server: Proxy

    def handle(self) -> None:
        if self.server.is_closed:
            return
        with socket.create_connection(self.server.to) as far:
            self.server.sockets += [self.request, far]
            threads = [threading.Thread(target=_copy, args=pair) for pair in ((self.request, far), (far, self.request))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        # The connections were cut.
        for each in (source, target):
            each.close()


@contextmanager
def web(mongo_url: str, search_directory: Path) -> Iterator[str]:
    """A web process of the service; its base URL."""
    port = free_port()
    values = {
        "SOUK_MONGO_URL": mongo_url,
        "SOUK_REDIS_URL": f"{server_url('REDIS')}?{PATIENT}",
        "SOUK_PORT": str(port),
        "SOUK_SEARCH_DIRECTORY": str(search_directory),
        "SOUK_JWT_KEYS": json.dumps(JWT_KEYS),
    }
    command = [sys.executable, "-m", "chassis", "web", "services.products"]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **values}, stdout=subprocess.DEVNULL)
    try:
        retries = urllib3.Retry(total=100, backoff_factor=0.1, backoff_max=1)
        base = f"http://127.0.0.1:{port}"
        assert urllib3.request("GET", f"{base}/health/ready", retries=retries, timeout=DEADLINE_SECONDS).status == 200
        yield base
    finally:
        process.terminate()
        process.wait(DEADLINE_SECONDS)


def test_cached_responses_are_served_while_the_database_is_unavailable(products, stocked, tmp_path):
    (cups,) = stocked(5)
    address = Product._get_db().client.address
    proxy = Proxy(address)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    url = products.settings.mongo_url.replace(f"{address[0]}:{address[1]}", f"127.0.0.1:{proxy.server_address[1]}")
    with web(url, tmp_path) as base:
        known = [f"{base}{path}" for path in (f"/products/{cups}", "/products/", "/products/search?q=kettle")]
        before = [urllib3.request("GET", each, timeout=DEADLINE_SECONDS) for each in known]
        assert [each.status for each in before] == [200] * 3
        proxy.close_connections()
        # Long enough that nothing is fresh any more.
        deadline = time.monotonic() + DEADLINE_SECONDS
        while urllib3.request("GET", f"{base}/health/ready", timeout=DEADLINE_SECONDS, retries=False).status != 503:
            assert time.monotonic() < deadline
        until = time.monotonic() + cache.FRESH_SECONDS
        while time.monotonic() < until:
            for url, first in zip(known, before, strict=True):
                response = urllib3.request("GET", url, timeout=DEADLINE_SECONDS, retries=False)
                assert (response.status, response.data) == (200, first.data)
        started = time.monotonic()
        unknown = urllib3.request("GET", f"{base}/products/{uuid4()}", timeout=DEADLINE_SECONDS, retries=False)
        assert unknown.status == 503
        assert int(unknown.headers["Retry-After"]) > 0
        assert time.monotonic() - started < 5
    proxy.shutdown()
    proxy.server_close()
