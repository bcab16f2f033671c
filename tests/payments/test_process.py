"""Paying over the API: what is taken, what is refused by name, and who sees what became of it."""

import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
import urllib3
from sqlalchemy import text

from chassis.run.testing import bearer
from contracts.payments import VoidPayment
from services.payments.providers import ProviderUnavailable

CARD = "4111111111111111"
ADA, EVE = uuid4(), uuid4()


@pytest.fixture
def pay(payments, client):
    """POST /payments/process as Ada, with a fresh key."""

    def post(user_id=ADA, key=None, **changes):
        body = {"amount": "12.50", "currency": "EUR", "payment_method": "tok_success"} | changes
        headers = bearer(payments, user_id) | {"Idempotency-Key": key or str(uuid4())}
        return client(payments).post("/payments/process", json=body, headers=headers)

    return post


@pytest.fixture
def look(payments, client):
    """GET as Ada, unless as another user or with roles."""
    return lambda path, user_id=ADA, *roles: client(payments).get(path, headers=bearer(payments, user_id, *roles))


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({}, "captured", None),
        ({"capture": True, "currency": "EUR", "amount": "0.01"}, "captured", None),
        ({"capture": False}, "authorized", None),
        ({"payment_method": "tok_declined_insufficient_funds"}, "declined", "insufficient_funds"),
        ({"payment_method": "tok_of_nobody"}, "declined", "invalid_payment_method"),
        ({"amount": "99999999.99"}, "declined", "invalid_amount"),
    ],
)
def test_a_payment_is_pending_at_first_and_then_what_the_bank_says(pay, look, orders, bank, changes, status, reason):
    answer = pay(**changes)
    assert (answer.status_code, answer.json["status"]) == (201, "pending")
    assert answer.headers["Location"] == f"/payments/{answer.json['id']}"
    orders.system.drain()
    seen = look(answer.headers["Location"]).json
    assert (seen["status"], seen["decline_reason"]) == (status, reason)
    assert (seen["amount"], seen["currency"], seen["user_id"]) == (changes.get("amount", "12.50"), "EUR", str(ADA))
    assert seen["order_id"] is None
    charges = bank.charges(answer.json["id"])
    assert [charge["status"] for charge in charges] == ([] if reason and reason.startswith("invalid") else [status])
    assert orders.heard == []


def test_whole_euros_are_an_amount_too(pay):
    assert pay(amount="7").json["amount"] == "7.00"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[
            ("amount", value)
            for value in (
                "0",
                "0.001",
                "-1.00",
                "100000000",
                "1.234",
                "NaN",
                "Infinity",
                "1e1",
                " 1",
                1.5,
                "ten",
                True,
                None,
            )
        ],
        *[("currency", value) for value in ("USD", "eur", "EURO", "", 978, None)],
        *[("payment_method", value) for value in (CARD, "tok_", "tok_UPPER", "tok_" + "x" * 61, "tok_x\n", 1, None)],
        *[("capture", value) for value in ("yes", 1, None)],
        *[("order_id", value) for value in ("1", None)],
        ("card_number", CARD),
    ],
)
def test_a_wrong_field_is_refused_by_name_and_its_value_is_not_repeated(pay, orders, look, field, value):
    answer = pay(**{field: value})
    assert (answer.status_code, answer.content_type) == (422, "application/problem+json")
    assert {wrong["field"] for wrong in answer.json["errors"]} <= {field, "body"}
    assert CARD not in answer.text
    assert look(f"/payments/user/{ADA}").json["items"] == []


def test_a_missing_field_is_named(payments, client):
    headers = bearer(payments, ADA) | {"Idempotency-Key": "key"}
    answer = client(payments).post("/payments/process", json={}, headers=headers)
    assert answer.status_code == 422
    assert [wrong["field"] for wrong in answer.json["errors"]] == ["amount", "currency", "payment_method"]


def test_a_payment_without_an_idempotency_key_is_refused(payments, client):
    answer = client(payments).post("/payments/process", json={}, headers=bearer(payments, ADA))
    assert (answer.status_code, answer.json["field"]) == (400, "Idempotency-Key")


def test_twenty_requests_with_one_key_at_once_are_one_payment(pay, orders, bank, look):
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: pay(key="one-intent"), range(20)))
    assert {answer.status_code for answer in answers} == {201}
    (payment_id,) = {answer.json["id"] for answer in answers}
    orders.system.drain()
    assert [payment["id"] for payment in look(f"/payments/user/{ADA}").json["items"]] == [payment_id]
    assert len(bank.charges(payment_id)) == 1


def test_a_key_is_not_for_another_body_and_another_user_may_use_the_same(pay):
    assert pay(key="key").status_code == 201
    assert pay(key="key", amount="12.51").status_code == 422
    assert pay(EVE, key="key", amount="12.51").status_code == 201


def test_a_direct_payment_that_names_an_order_is_refused_and_the_order_is_paid_by_its_saga(pay, orders, look):
    order_id = uuid4()
    answer = pay(amount="0.01", order_id=str(order_id))
    assert (answer.status_code, [wrong["field"] for wrong in answer.json["errors"]]) == (422, ["order_id"])
    assert look(f"/payments/user/{ADA}").json["items"] == []
    orders.say(orders.wants(order_id))
    assert orders.heard_types == ["payment.authorized"]


def test_a_charge_that_captures_at_once_is_one_even_if_its_answer_was_late(pay, orders, bank, look, settings):
    paid = pay(payment_method="tok_slow").json
    with settings(provider_timeout_seconds=0.3), pytest.raises(ProviderUnavailable):
        orders.system.drain()
    assert look(f"/payments/{paid['id']}").json["status"] == "pending"
    orders.payments.celery.run("payments.advance", UUID(paid["id"]))
    assert look(f"/payments/{paid['id']}").json["status"] == "captured"
    assert [charge["amount_captured"] for charge in bank.charges(paid["id"])] == [1250]


def test_a_payment_is_seen_by_its_owner_and_staff_and_by_nobody_else(pay, look):
    for path in (f"/payments/{pay().json['id']}", f"/payments/user/{ADA}"):
        assert look(path).status_code == 200
        assert look(path, EVE, "staff").status_code == 200
        assert look(path, EVE).status_code == 404
    assert look(f"/payments/{uuid4()}").status_code == 404


def test_what_was_called_off_before_anybody_paid_is_seen_by_staff_alone(orders, payments, look):
    orders.say(VoidPayment(uuid4()))
    with payments.store.engine.connect() as connection:
        payment_id = connection.scalar(text("SELECT id FROM payments"))
    assert look(f"/payments/{payment_id}").status_code == 404
    seen = look(f"/payments/{payment_id}", EVE, "staff").json
    assert (seen["amount"], seen["currency"], seen["user_id"]) == ("0.00", "XXX", None)


@pytest.mark.parametrize("path", ["/payments/process", f"/payments/{ADA}", f"/payments/user/{ADA}"])
def test_without_a_token_nothing_is_told(payments, client, path):
    method = client(payments).post if path.endswith("process") else client(payments).get
    assert method(path).status_code == 401


def test_the_history_pages_through_every_payment_once_newest_first(pay, look):
    made = [pay().json["id"] for _ in range(5)]
    pay(EVE)
    page = look(f"/payments/user/{ADA}?limit=2").json
    listed = [payment["id"] for payment in page["items"]]
    while page["next"]:
        page = look(f"/payments/user/{ADA}?limit=2&cursor={page['next']}").json
        listed += [payment["id"] for payment in page["items"]]
    assert listed == made[::-1]
    for wrong in ("limit=0", "limit=101", "cursor=x", "colour=red"):
        assert look(f"/payments/user/{ADA}?{wrong}").status_code == 422


def test_a_card_number_gets_into_no_table(pay, orders, payments):
    orders.say(orders.wants(uuid4(), CARD), orders.wants(uuid4(), f"tok-{CARD}"))
    pay(payment_method=CARD)
    with payments.store.engine.connect() as connection:
        for table in ("payments", "outbox", "inbox", "idempotency"):
            rows = connection.scalars(text(f"SELECT kept::text FROM {table} kept")).all()
            assert not [row for row in rows if CARD in row]


def test_a_card_number_gets_into_no_log_of_the_web_process(payments):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = payments.settings
    surroundings = os.environ | {
        "SOUK_PORT": str(port),
        "SOUK_DATABASE_URL": settings.database_url,
        "SOUK_JWT_KEYS": json.dumps({"test": settings.jwt_keys["test"].get_secret_value()}),
        "SOUK_LOG_LEVEL": "debug",
    }
    command = [sys.executable, "-m", "chassis", "web", "services.payments"]
    program = subprocess.Popen(command, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        http = urllib3.PoolManager(timeout=10)
        ready = urllib3.Retry(total=100, backoff_factor=0.05, backoff_max=0.2, status_forcelist=[503])
        assert http.request("GET", f"http://127.0.0.1:{port}/health/ready", retries=ready).status == 200
        for field in ("payment_method", "amount", "currency", "order_id", "card"):
            body = {"amount": "12.50", "currency": "EUR", "payment_method": "tok_success", field: CARD}
            headers = bearer(payments, ADA) | {"Idempotency-Key": field}
            url = f"http://127.0.0.1:{port}/payments/process"
            answer = http.request("POST", url, json=body, headers=headers, retries=False)
            assert (answer.status, CARD in answer.data.decode()) == (422, False)
    finally:
        program.send_signal(signal.SIGTERM)
        said, _ = program.communicate(timeout=20)
    assert '"route": "/payments/process"' in said
    assert CARD not in said
