"""The bank keeps its promises over real HTTP: one charge per key, no refund over a capture, no forgetting."""

import json
import os
import signal
import socket
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

KEY = "a-key-of-the-test"
ASKING_FOR_READY = urllib3.Retry(total=100, connect=100, backoff_factor=0.05, backoff_max=0.25, status_forcelist=[503])
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
    """Set at the end, so that no slow answer holds the server's stop."""
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
def test_a_charge_is_held_or_taken_as_asked(bank, capture, status, captured):
    answer = bank.charge(capture=capture)
    charge = answer.json()
    assert answer.status == 201
    assert (charge["status"], charge["amount_captured"], charge["amount_refunded"]) == (status, captured, 0)
    assert charge["id"].startswith("ch_")
    assert bank.get(f"/charges/{charge['id']}").json() == charge


@pytest.mark.parametrize("reason", ["insufficient_funds", "stolen_card"])
def test_a_declined_charge_is_made_and_says_why(bank, reason):
    answer = bank.charge(source=f"tok_declined_{reason}", capture=True)
    assert answer.status == 201
    assert (answer.json()["status"], answer.json()["decline_reason"]) == ("declined", reason)
    assert answer.json()["amount_captured"] == 0


def test_the_bad_day_of_the_bank_charges_nothing_and_leaves_the_key_free(bank):
    failed = bank.charge(key="bad-day", source="tok_error")
    assert (failed.status, failed.headers["Content-Type"]) == (500, "application/problem+json")
    assert bank.get("/charges").json()["items"] == []
    assert bank.charge(key="bad-day").status == 201


def test_the_same_request_twenty_times_at_once_is_one_charge(bank):
    together = threading.Barrier(20)

    def charge(_):
        together.wait()
        return bank.charge(key="one-intent", capture=True)

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(charge, range(20)))
    assert {answer.status for answer in answers} == {201}
    assert len({answer.data for answer in answers}) == 1
    assert [answer.headers.get("Idempotent-Replayed") for answer in answers].count(None) == 1
    assert len(bank.get("/charges").json()["items"]) == 1


@pytest.mark.parametrize("changes", [{"amount": 1251}, {"source": "tok_declined_stolen_card"}, {"capture": True}])
def test_a_key_that_was_used_for_another_request_is_refused(bank, changes):
    bank.charge(key="used")
    refused = bank.charge(key="used", **changes)
    assert refused.status == 422
    assert len(bank.get("/charges").json()["items"]) == 1


def test_a_key_of_one_charge_does_not_capture_another(bank):
    one, other = (bank.charge().json()["id"] for _ in range(2))
    assert bank.post(f"/charges/{one}/capture", key="capture").status == 200
    assert bank.post(f"/charges/{other}/capture", key="capture").status == 422


def test_a_slow_charge_is_made_before_the_wait_and_its_repetition_is_answered_at_once(bank, stopping):
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(bank.charge, key="slow", source="tok_slow", reference="slow-order")
        while not bank.get("/charges?reference=slow-order").json()["items"]:
            assert not slow.done()
        again = bank.charge(key="slow", source="tok_slow", reference="slow-order")
        assert not slow.done()
        stopping.set()
        assert slow.result(timeout=5).data == again.data


@pytest.mark.parametrize(("asked", "captured"), [(None, 1250), ({}, 1250), ({"amount": 1000}, 1000)])
def test_an_authorized_charge_is_captured_once_whole_or_in_part(bank, asked, captured):
    path = f"/charges/{bank.charge().json()['id']}/capture"
    first = bank.post(path, asked, key="capture")
    assert (first.status, first.json()["status"], first.json()["amount_captured"]) == (
        200,
        "captured",
        captured,
    )
    assert bank.post(path, asked, key="capture").data == first.data
    assert bank.post(path, asked).status == 409


def test_more_than_was_authorized_is_not_captured(bank):
    charge_id = bank.charge().json()["id"]
    assert bank.post(f"/charges/{charge_id}/capture", {"amount": 1251}).status == 409
    assert bank.get(f"/charges/{charge_id}").json()["status"] == "authorized"


def test_an_authorized_charge_is_voided_and_then_neither_captured_nor_refunded(bank):
    path = f"/charges/{bank.charge().json()['id']}"
    assert bank.post(f"{path}/void").json()["status"] == "voided"
    assert bank.post(f"{path}/capture").status == 409
    assert bank.post(f"{path}/void").status == 409
    assert bank.post(f"{path}/refunds", {"amount": 1}).status == 409


def test_a_captured_charge_is_not_voided(bank):
    assert bank.post(f"/charges/{bank.charge(capture=True).json()['id']}/void").status == 409


def test_refunds_add_up_to_what_was_captured_and_never_more(bank):
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


def test_ten_refunds_at_once_take_no_more_than_was_captured(bank):
    path = f"/charges/{bank.charge(capture=True, amount=300).json()['id']}/refunds"
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: bank.post(path, {"amount": 100}).status, range(10)))
    assert sorted(answers) == [201] * 3 + [409] * 7


def test_the_listing_pages_through_every_charge_once_oldest_first(bank):
    made = [bank.charge(reference=f"order-{number % 2}").json() for number in range(5)]
    assert pages(bank, "/charges?limit=2") == made
    assert pages(bank, "/charges?limit=1&reference=order-1") == made[1::2]
    assert pages(bank, "/charges?reference=of-nobody") == []


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
        *[("source", value) for value in ("tok_of_nobody", ["tok_success"], None)],
        *[("reference", value) for value in ("", "x" * 201, "\ud800", "line\nbreak")],
        ("capture", "yes"),
        ("colour", "red"),
    ],
)
def test_a_wrong_field_is_refused_by_name(bank, field, value):
    answer = bank.charge(**{field: value})
    assert (answer.status, answer.headers["Content-Type"]) == (422, "application/problem+json")
    assert answer.json()["field"] == field
    assert bank.get("/charges").json()["items"] == []


@pytest.mark.parametrize("text", ["{", "[]", "null", '"text"', "[" * 9_000, b"\xff\xfe"])
def test_what_is_no_json_object_is_refused(bank, text):
    headers = bank.headers() | {"Idempotency-Key": "key"}
    answer = bank.http.request("POST", f"{bank.address}/charges", body=text, headers=headers)
    assert (answer.status, answer.headers["Content-Type"]) == (400, "application/problem+json")


@pytest.mark.parametrize("key", [None, "", "k" * 256, "with space"])
def test_a_charge_without_a_fit_idempotency_key_is_refused(bank, key):
    headers = bank.headers() | ({} if key is None else {"Idempotency-Key": key})
    answer = bank.http.request("POST", f"{bank.address}/charges", json=order(), headers=headers)
    assert (answer.status, bank.get("/charges").json()["items"]) == (400, [])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/charges/ch_of_nobody", 404),
        ("GET", "/charges/ch_of_nobody/refunds", 404),
        ("POST", "/charges/ch_of_nobody/void", 404),
        ("GET", "/nowhere", 404),
        ("DELETE", "/charges", 405),
        ("GET", "/charges?limit=0", 422),
        ("GET", "/charges?limit=101", 422),
        ("GET", "/charges?after=-1", 422),
        ("GET", f"/charges?after={2**63}", 422),
    ],
)
def test_a_wrong_question_gets_a_problem(bank, method, path, status):
    headers = bank.headers() | {"Idempotency-Key": "key"}
    answer = bank.http.request(method, bank.address + path, headers=headers)
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")


def test_a_huge_body_is_refused(bank):
    assert bank.charge(reference="x" * 20_000).status == 413


@pytest.mark.parametrize("key", ["", "another-key", "käse"])
def test_without_the_right_key_nothing_is_told_but_health(bank, key):
    stranger = Customer(bank.address.rpartition(":")[2], key)
    refused = stranger.charge()
    assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert stranger.get("/charges").status == 401
    assert [stranger.get(f"/health/{kind}").status for kind in ("live", "ready")] == [200, 200]
    assert bank.get("/charges").json()["items"] == []


def test_a_bank_without_a_file_works_from_memory():
    with standin.listening(create_app(None, KEY), "127.0.0.1", 0) as port:
        assert Customer(port).charge().status == 201


def test_a_killed_bank_has_forgotten_nothing_and_a_stopped_one_ends_well(tmp_path):
    with process(tmp_path) as (program, customer):
        made = customer.charge(key="before-the-end", capture=True)
        program.kill()
    with process(tmp_path) as (program, customer):
        assert customer.charge(key="before-the-end", capture=True).data == made.data
        assert customer.get("/charges?reference=order-1").json()["items"] == [made.json()]
        program.send_signal(signal.SIGTERM)
        assert program.wait(timeout=10) == 0


def test_the_program_says_what_it_lacks(tmp_path):
    command = [sys.executable, "-m", "devservers.bank"]
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("SOUK_")}
    ended = subprocess.run(command, env=surroundings, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("SOUK_SANDBOX_KEY is not set.")


@contextmanager
def process(directory):
    """The bank as the launcher runs it, once it is ready."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    given = {"SOUK_PORT": str(port), "SOUK_SANDBOX_KEY": KEY, "SOUK_BANK_DIRECTORY": str(directory)}
    program = subprocess.Popen([sys.executable, "-m", "devservers.bank"], env=os.environ | given)
    try:
        customer = Customer(port)
        customer.get("/health/ready", retries=ASKING_FOR_READY)
        yield program, customer
    finally:
        program.kill()
        program.wait()
