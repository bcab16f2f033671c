"""What customers read: cached for a moment, invalidated by changes, available even without the database."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
import urllib3

from chassis.run.service import Service
from contracts.stock import ReserveStock
from services.products import cache
from services.products.models import Product
from tests.conftest import JWT_KEYS, PATIENT, server_url
from tests.installation import until
from tests.mongo import (
    ALL,
    AUTHENTICATION,
    FULL,
    READ_ONLY,
    SHUTTING_DOWN,
    TIMED_OUT,
    UNAUTHORIZED,
    WRITES,
    WRONG_PASSWORD,
    MongoWire,
)
from tests.ports import free_port
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


def test_an_import_is_seen_at_once(http, add, staff):
    made = add(name="Kettle")
    path = f"/products/{made['id']}"
    assert http.get(path).json["name"] == http.get("/products/").json["items"][0]["name"] == "Kettle"
    row = json.dumps(described(sku=made["sku"], name="Tin kettle"))
    imported = http.post("/products/import", data=row, content_type="application/x-ndjson", headers=staff)
    assert imported.json["updated"] == 1
    assert http.get(path).json["name"] == http.get("/products/").json["items"][0]["name"] == "Tin kettle"


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


@pytest.fixture(scope="module")
def through_wire(_products: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, MongoWire]]:
    """Base URL of a web process, and its way to the database."""
    wire, url = MongoWire.to(_products.settings.mongo_url)
    # A server that steps down says so to those that monitor it; the proxy does not.
    with web(f"{url}&serverMonitoringMode=poll", tmp_path_factory.mktemp("index")) as base:
        yield base, wire
    wire.close()


def get(base: str, path: str, **headers: str) -> urllib3.BaseHTTPResponse:
    return urllib3.request("GET", f"{base}{path}", headers=headers, timeout=DEADLINE_SECONDS, retries=False)


@pytest.fixture
def base(products: Service, through_wire: tuple[str, MongoWire]) -> Iterator[str]:
    cache.invalidate_lists()
    base, wire = through_wire
    yield base
    wire.recover()
    until(lambda: get(base, f"/products/{uuid4()}").status == 404, DEADLINE_SECONDS)


@pytest.fixture
def wire(through_wire: tuple[str, MongoWire]) -> MongoWire:
    return through_wire[1]


def refuse_password(wire: MongoWire) -> None:
    wire.refuse(AUTHENTICATION, WRONG_PASSWORD)
    wire.close_connections()


FAILURES: dict[str, Callable[[MongoWire], None]] = {
    "down": MongoWire.cut,
    "slow": MongoWire.freeze_responses,
    "shutting down": lambda wire: wire.refuse(ALL, SHUTTING_DOWN),
    "overloaded": lambda wire: wire.refuse(ALL, TIMED_OUT),
    "refusing our password": refuse_password,
    "without our rights": lambda wire: wire.refuse(ALL, UNAUTHORIZED),
}


@pytest.mark.parametrize("how", FAILURES)
def test_cached_responses_are_served_while_the_database_is_unavailable(stocked, wire, base, how):
    (cups,) = stocked(5)
    known = [f"/products/{cups}", "/products/", "/products/search?q=kettle"]
    before = [get(base, each) for each in known]
    assert [each.status for each in before] == [200] * 3
    FAILURES[how](wire)
    # Long enough that nothing is fresh any more.
    until(lambda: get(base, "/health/ready").status == 503, DEADLINE_SECONDS)
    stale_at = time.monotonic() + cache.FRESH_SECONDS
    while time.monotonic() < stale_at:
        for path, first in zip(known, before, strict=True):
            response = get(base, path)
            assert (response.status, response.data) == (200, first.data)
    started = time.monotonic()
    unknown = get(base, f"/products/{uuid4()}")
    assert unknown.status == 503
    assert int(unknown.headers["Retry-After"]) > 0
    assert time.monotonic() - started < 9


@pytest.mark.parametrize("error", [READ_ONLY, FULL, TIMED_OUT, UNAUTHORIZED], ids=lambda error: error["codeName"])
def test_a_database_that_takes_no_writes_is_still_read(stocked, staff, wire, base, error):
    (cups,) = stocked(5)
    wire.refuse(WRITES, error)
    write = partial(urllib3.request, "POST", f"{base}/products/", json=described(), headers=staff, retries=False)
    refused = write()
    assert (refused.status, refused.headers["Retry-After"]) == (503, "2")
    assert get(base, f"/products/{cups}").status == 200
    wire.recover()
    assert write().status == 201
