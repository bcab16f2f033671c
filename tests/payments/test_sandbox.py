"""The bank over real HTTP: one charge per idempotency key, no refund beyond the capture, nothing lost when it is killed."""

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count

import pytest
import urllib3

from devservers import standin
from devservers.bank import create_app
from tests.ports import free_port

KEY = "a-key-of-the-test"
UNTIL_READY = urllib3.Retry(total=100, connect=100, backoff_factor=0.05, backoff_max=0.25, status_forcelist=[503])
fresh = count()


class Customer:
    """Calls the bank as the adapter does."""

    def __init__(self, port, key=KEY):
        self.address = f"http://127.0.0.1:{port}"
        self.key = key
        self.http = urllib3.PoolManager(maxsize=20, retries=False, timeout=10)

    def get(self, path, **options):
        return self.http.request("GET", self.address + path, headers=self.headers(), **options)

    def post(self, path, body=None, key=None, **options):
        headers = self.headers() | {"Idempotency-Key": key or f"key-{next(fresh)}"}
        sent = None if body is None else json.dumps(body)
        return self.http.request("POST", self.address + path, body=sent, headers=headers, **options)

    def charge(self, key=None, **changes):
        return self.post("/charges", order(**changes), key)

    def headers(self):
        return {"Authorization": f"Bearer {self.key}"}


def order(**changes):
    usual = {
        "amount": 1250,
        "currency": "EUR",
        "source": "tok_success",
        "capture": False,
        "reference": "order-1",
    }
    return usual | changes


@pytest.fixture
def stopping():
    """Set at the end, so that no slow response delays the server's stop."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def bank(tmp_path, stopping):
    app = create_app(tmp_path / "bank" / "bank.sqlite3", KEY, stopping, slow_seconds=60)
    with standin.listening(app, "127.0.0.1", 0) as port:
        yield Customer(port)
        stopping.set()


@pytest.mark.parametrize(("capture", "status", "captured"), [(False, "authorized", 0), (True, "captured", 1250)])
def test_a_charge_is_authorized_or_captured_as_requested(bank, capture, status, captured):
    response = bank.charge(capture=capture)
    charge = response.json()
    assert response.status == 201
    assert (charge["status"], charge["amount_captured"], charge["amount_refunded"]) == (status, captured, 0)
    assert charge["id"].startswith("ch_")
    assert bank.get(f"/charges/{charge['id']}").json() == charge


@pytest.mark.parametrize("reason", ["insufficient_funds", "stolen_card"])
def test_a_declined_charge_has_a_reason(bank, reason):
    response = bank.charge(source=f"tok_declined_{reason}", capture=True)
    assert response.status == 201
    assert (response.json()["status"], response.json()["decline_reason"]) == ("declined", reason)
    assert response.json()["amount_captured"] == 0


def test_an_error_charges_nothing_and_leaves_the_idempotency_key_unused(bank):
    failed = bank.charge(key="error", source="tok_error")
    assert (failed.status, failed.headers["Content-Type"]) == (500, "application/problem+json")
    assert bank.get("/charges").json()["items"] == []
    assert bank.charge(key="error").status == 201


def test_twenty_concurrent_repeats_of_a_request_make_one_charge(bank):
    together = threading.Barrier(20)

    def charge(_):
        together.wait()
        return bank.charge(key="one-intent", capture=True)

    with ThreadPoolExecutor(20) as pool:
        responses = list(pool.map(charge, range(20)))
    assert {response.status for response in responses} == {201}
    assert len({response.data for response in responses}) == 1
    assert [response.headers.get("Idempotent-Replayed") for response in responses].count(None) == 1
    assert len(bank.get("/charges").json()["items"]) == 1


@pytest.mark.parametrize("changes", [{"amount": 1251}, {"source": "tok_declined_stolen_card"}, {"capture": True}])
def test_an_idempotency_key_of_a_different_request_is_refused(bank, changes):
    bank.charge(key="used")
    refused = bank.charge(key="used", **changes)
    assert refused.status == 422
    assert len(bank.get("/charges").json()["items"]) == 1


def test_an_idempotency_key_of_one_charge_does_not_capture_another(bank):
    one, other = (bank.charge().json()["id"] for _ in range(2))
    assert bank.post(f"/charges/{one}/capture", key="capture").status == 200
    assert bank.post(f"/charges/{other}/capture", key="capture").status == 422


def test_a_slow_charge_is_made_at_once_and_its_repeat_gets_an_immediate_response(bank, stopping):
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(bank.charge, key="slow", source="tok_slow", reference="slow-order")
        while not bank.get("/charges?reference=slow-order").json()["items"]:
            assert not slow.done()
        again = bank.charge(key="slow", source="tok_slow", reference="slow-order")
        assert not slow.done()
        stopping.set()
        assert slow.result(timeout=5).data == again.data


@pytest.mark.parametrize(("body", "captured"), [(None, 1250), ({}, 1250), ({"amount": 1000}, 1000)])
def test_an_authorized_charge_is_captured_once_whole_or_in_part(bank, body, captured):
    path = f"/charges/{bank.charge().json()['id']}/capture"
    first = bank.post(path, body, key="capture")
    assert (first.status, first.json()["status"], first.json()["amount_captured"]) == (
        200,
        "captured",
        captured,
    )
    assert bank.post(path, body, key="capture").data == first.data
    assert bank.post(path, body).status == 409


def test_a_capture_beyond_the_authorization_is_refused(bank):
    charge_id = bank.charge().json()["id"]
    assert bank.post(f"/charges/{charge_id}/capture", {"amount": 1251}).status == 409
    assert bank.get(f"/charges/{charge_id}").json()["status"] == "authorized"


def test_a_voided_charge_is_neither_captured_nor_refunded(bank):
    path = f"/charges/{bank.charge().json()['id']}"
    assert bank.post(f"{path}/void").json()["status"] == "voided"
    assert bank.post(f"{path}/capture").status == 409
    assert bank.post(f"{path}/void").status == 409
    assert bank.post(f"{path}/refunds", {"amount": 1}).status == 409


def test_a_captured_charge_cannot_be_voided(bank):
    assert bank.post(f"/charges/{bank.charge(capture=True).json()['id']}/void").status == 409


def test_refunds_never_exceed_the_capture(bank):
    path = f"/charges/{bank.charge(capture=True).json()['id']}"
    first = bank.post(f"{path}/refunds", {"amount": 1000}, key="part")
    assert (first.status, first.json()["amount"], first.json()["charge"]["amount_refunded"]) == (
        201,
        1000,
        1000,
    )
    assert bank.post(f"{path}/refunds", {"amount": 1000}, key="part").data == first.data
    assert bank.post(f"{path}/refunds", {"amount": 251}).status == 409
    assert bank.post(f"{path}/refunds", {"amount": 250}).status == 201
    assert bank.get(path).json()["amount_refunded"] == 1250
    assert [refund["amount"] for refund in bank.get(f"{path}/refunds").json()["items"]] == [1000, 250]


def test_ten_concurrent_refunds_never_exceed_the_capture(bank):
    path = f"/charges/{bank.charge(capture=True, amount=300).json()['id']}/refunds"
    with ThreadPoolExecutor(10) as pool:
        statuses = list(pool.map(lambda _: bank.post(path, {"amount": 100}).status, range(10)))
    assert sorted(statuses) == [201] * 3 + [409] * 7


def test_the_list_pages_through_every_charge_once_oldest_first(bank):
    made = [bank.charge(reference=f"order-{number % 2}").json() for number in range(5)]
    assert pages(bank, "/charges?limit=2") == made
    assert pages(bank, "/charges?limit=1&reference=order-1") == made[1::2]
    assert pages(bank, "/charges?reference=unknown") == []


def pages(bank, path):
    page = bank.get(path).json()
    items = page["items"]
    while page["next"]:
        page = bank.get(f"{path}&after={page['next']}").json()
        items += page["items"]
    return items


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("amount", value) for value in (0, -1, 12.5, "1250", True, None, 100_000_000)],
        *[("currency", value) for value in ("eur", "EURO", 978)],
        *[("source", value) for value in ("tok_unknown", ["tok_success"], None)],
        *[("reference", value) for value in ("", "x" * 201, "\ud800", "line\nbreak")],
        ("capture", "yes"),
        ("colour", "red"),
    ],
)
def test_an_invalid_field_is_named(bank, field, value):
    response = bank.charge(**{field: value})
    assert (response.status, response.headers["Content-Type"]) == (422, "application/problem+json")
    assert response.json()["field"] == field
    assert bank.get("/charges").json()["items"] == []


@pytest.mark.parametrize("text", ["{", "[]", "null", '"text"', "[" * 9_000, b"\xff\xfe"])
def test_a_body_that_is_not_a_json_object_is_refused(bank, text):
    headers = bank.headers() | {"Idempotency-Key": "key"}
    response = bank.http.request("POST", f"{bank.address}/charges", body=text, headers=headers)
    assert (response.status, response.headers["Content-Type"]) == (400, "application/problem+json")


@pytest.mark.parametrize("key", [None, "", "k" * 256, "with space"])
def test_a_charge_without_a_valid_idempotency_key_is_refused(bank, key):
    headers = bank.headers() | ({} if key is None else {"Idempotency-Key": key})
    response = bank.http.request("POST", f"{bank.address}/charges", json=order(), headers=headers)
    assert (response.status, bank.get("/charges").json()["items"]) == (400, [])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/charges/ch_unknown", 404),
        ("GET", "/charges/ch_unknown/refunds", 404),
        ("POST", "/charges/ch_unknown/void", 404),
        ("GET", "/nowhere", 404),
        ("DELETE", "/charges", 405),
        ("GET", "/charges?limit=0", 422),
        ("GET", "/charges?limit=101", 422),
        ("GET", "/charges?after=-1", 422),
        ("GET", f"/charges?after={2**63}", 422),
    ],
)
def test_an_invalid_request_gets_a_problem(bank, method, path, status):
    headers = bank.headers() | {"Idempotency-Key": "key"}
    response = bank.http.request(method, bank.address + path, headers=headers)
    assert (response.status, response.headers["Content-Type"]) == (status, "application/problem+json")


def test_a_body_that_is_too_large_is_refused(bank):
    assert bank.charge(reference="x" * 20_000).status == 413


@pytest.mark.parametrize("key", ["", "another-key", "käse"])
def test_without_the_bearer_key_only_health_is_shown(bank, key):
    unauthorized = Customer(bank.address.rpartition(":")[2], key)
    refused = unauthorized.charge()
    assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert unauthorized.get("/charges").status == 401
    assert [unauthorized.get(f"/health/{kind}").status for kind in ("live", "ready")] == [200, 200]
    assert bank.get("/charges").json()["items"] == []


def test_a_bank_without_a_file_runs_in_memory():
    with standin.listening(create_app(None, KEY), "127.0.0.1", 0) as port:
        assert Customer(port).charge().status == 201


def test_a_killed_bank_loses_nothing_and_a_stopped_one_exits_cleanly(tmp_path):
    with process(tmp_path) as (program, customer):
        made = customer.charge(key="before-the-kill", capture=True)
        program.kill()
    with process(tmp_path) as (program, customer):
        assert customer.charge(key="before-the-kill", capture=True).data == made.data
        assert customer.get("/charges?reference=order-1").json()["items"] == [made.json()]
        program.send_signal(signal.SIGTERM)
        assert program.wait(timeout=10) == 0


def test_the_program_names_a_missing_setting(tmp_path):
    command = [sys.executable, "-m", "devservers.bank"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SOUK_")}
    environment["SOUK_PORT"] = "0"
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("SOUK_SANDBOX_KEY is not set.")


@contextmanager
def process(directory):
    """The bank as the launcher runs it, once it is ready."""
    port = free_port()
    given = {"SOUK_PORT": str(port), "SOUK_SANDBOX_KEY": KEY, "SOUK_BANK_DIRECTORY": str(directory)}
    program = subprocess.Popen([sys.executable, "-m", "devservers.bank"], env=os.environ | given)
    try:
        customer = Customer(port)
        customer.get("/health/ready", retries=UNTIL_READY)
        yield program, customer
    finally:
        program.kill()
        program.wait()
