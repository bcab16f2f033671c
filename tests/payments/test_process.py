"""Direct payments over the API: validation, outcome, and who may see them."""

import json
import os
import signal
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
from tests.ports import free_port

CARD = "4111111111111111"
ADA, EVE = UUID(int=1), UUID(int=2)


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
    """GET as Ada, or as another user or role."""
    return lambda path, user_id=ADA, *roles: client(payments).get(path, headers=bearer(payments, user_id, *roles))


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({}, "captured", None),
        ({"capture": True, "currency": "EUR", "amount": "0.01"}, "captured", None),
        ({"capture": False}, "authorized", None),
        ({"payment_method": "tok_declined_insufficient_funds"}, "declined", "insufficient_funds"),
        ({"payment_method": "tok_unknown"}, "declined", "invalid_payment_method"),
    ],
)
def test_a_payment_is_pending_at_first_and_then_as_the_bank_decides(pay, look, orders, bank, changes, status, reason):
    response = pay(**changes)
    assert (response.status_code, response.json["status"]) == (201, "pending")
    assert response.headers["Location"] == f"/payments/{response.json['id']}"
    orders.system.drain()
    seen = look(response.headers["Location"]).json
    assert (seen["status"], seen["decline_reason"]) == (status, reason)
    assert (seen["amount"], seen["currency"], seen["user_id"]) == (changes.get("amount", "12.50"), "EUR", str(ADA))
    assert seen["order_id"] is None
    charges = bank.charges(response.json["id"])
    assert [charge["status"] for charge in charges] == ([] if reason and reason.startswith("invalid") else [status])
    assert orders.replies == []


def test_an_amount_above_what_providers_take_is_refused_with_the_limit(pay):
    assert pay(amount="999999.99").status_code == 201
    (error,) = pay(amount="1000000.00").json["errors"]
    assert "must be at most 999999.99" in error["message"]


def test_an_amount_may_be_whole_euros(pay):
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
                "1000000.00",
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
def test_an_invalid_field_is_named_and_its_value_not_repeated(pay, orders, look, field, value):
    response = pay(**{field: value})
    assert (response.status_code, response.content_type) == (422, "application/problem+json")
    assert {error["field"] for error in response.json["errors"]} <= {field, "body"}
    assert CARD not in response.text
    assert look(f"/payments/user/{ADA}").json["items"] == []


def test_a_missing_field_is_named(payments, client):
    headers = bearer(payments, ADA) | {"Idempotency-Key": "key"}
    response = client(payments).post("/payments/process", json={}, headers=headers)
    assert response.status_code == 422
    assert [error["field"] for error in response.json["errors"]] == ["amount", "currency", "payment_method"]


def test_a_payment_without_an_idempotency_key_is_refused(payments, client):
    response = client(payments).post("/payments/process", json={}, headers=bearer(payments, ADA))
    assert (response.status_code, response.json["field"]) == (400, "Idempotency-Key")


def test_twenty_concurrent_repeats_of_a_request_are_one_payment(pay, orders, bank, look):
    with ThreadPoolExecutor(20) as pool:
        responses = list(pool.map(lambda _: pay(key="one-intent"), range(20)))
    assert {response.status_code for response in responses} == {201}
    (payment_id,) = {response.json["id"] for response in responses}
    orders.system.drain()
    assert [payment["id"] for payment in look(f"/payments/user/{ADA}").json["items"]] == [payment_id]
    assert len(bank.charges(payment_id)) == 1


def test_an_idempotency_key_belongs_to_one_body_and_one_user(pay):
    assert pay(key="key").status_code == 201
    assert pay(key="key", amount="12.51").status_code == 422
    assert pay(EVE, key="key", amount="12.51").status_code == 201


def test_a_direct_payment_cannot_name_an_order(pay, orders, look):
    order_id = uuid4()
    response = pay(amount="0.01", order_id=str(order_id))
    assert (response.status_code, [error["field"] for error in response.json["errors"]]) == (422, ["order_id"])
    assert look(f"/payments/user/{ADA}").json["items"] == []
    orders.send(orders.authorization(order_id))
    assert orders.reply_types == ["payment.authorized"]


def test_an_immediate_capture_is_one_charge_even_if_its_response_was_late(pay, orders, bank, look, settings):
    paid = pay(payment_method="tok_slow").json
    with settings(provider_timeout_seconds=0.3), pytest.raises(ProviderUnavailable):
        orders.system.drain()
    assert look(f"/payments/{paid['id']}").json["status"] == "pending"
    orders.payments.celery.run("payments.advance", UUID(paid["id"]))
    assert look(f"/payments/{paid['id']}").json["status"] == "captured"
    assert [charge["amount_captured"] for charge in bank.charges(paid["id"])] == [1250]


def test_a_payment_is_visible_to_its_owner_and_staff_only(pay, look):
    for path in (f"/payments/{pay().json['id']}", f"/payments/user/{ADA}"):
        assert look(path).status_code == 200
        assert look(path, EVE, "staff").status_code == 200
        assert look(path, EVE).status_code == 404
    assert look(f"/payments/{uuid4()}").status_code == 404


def test_a_payment_voided_before_its_authorization_is_visible_to_staff_only(orders, payments, look):
    orders.send(VoidPayment(uuid4()))
    with payments.store.engine.connect() as connection:
        payment_id = connection.scalar(text("SELECT id FROM payments"))
    assert look(f"/payments/{payment_id}").status_code == 404
    seen = look(f"/payments/{payment_id}", EVE, "staff").json
    assert (seen["amount"], seen["currency"], seen["user_id"]) == ("0.00", "XXX", None)


@pytest.mark.parametrize("path", ["/payments/process", f"/payments/{ADA}", f"/payments/user/{ADA}"])
def test_without_a_token_every_request_is_a_401(payments, client, path):
    method = client(payments).post if path.endswith("process") else client(payments).get
    assert method(path).status_code == 401


def test_the_list_pages_through_every_payment_once_newest_first(pay, look):
    ids = [pay().json["id"] for _ in range(5)]
    pay(EVE)
    page = look(f"/payments/user/{ADA}?limit=2").json
    listed = [payment["id"] for payment in page["items"]]
    while page["next"]:
        page = look(f"/payments/user/{ADA}?limit=2&cursor={page['next']}").json
        listed += [payment["id"] for payment in page["items"]]
    assert listed == ids[::-1]
    for invalid in ("limit=0", "limit=101", "cursor=x", "colour=red"):
        assert look(f"/payments/user/{ADA}?{invalid}").status_code == 422


def test_a_card_number_is_in_no_table(pay, orders, payments):
    orders.send(orders.authorization(uuid4(), CARD), orders.authorization(uuid4(), f"tok-{CARD}"))
    pay(payment_method=CARD)
    with payments.store.engine.connect() as connection:
        for table in ("payments", "outbox", "inbox", "idempotency"):
            rows = connection.scalars(text(f"SELECT kept::text FROM {table} kept")).all()
            assert not [row for row in rows if CARD in row]


def test_a_card_number_is_in_no_log_of_the_web_process(payments):
    port, settings = free_port(), payments.settings
    environment = os.environ | {
        "SOUK_PORT": str(port),
        "SOUK_DATABASE_URL": settings.database_url,
        "SOUK_JWT_KEYS": json.dumps({"test": settings.jwt_keys["test"].get_secret_value()}),
        "SOUK_LOG_LEVEL": "debug",
    }
    command = [sys.executable, "-m", "chassis", "web", "services.payments"]
    program = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        http = urllib3.PoolManager(timeout=10)
        ready = urllib3.Retry(total=100, backoff_factor=0.05, backoff_max=0.2, status_forcelist=[503])
        assert http.request("GET", f"http://127.0.0.1:{port}/health/ready", retries=ready).status == 200
        for field in ("payment_method", "amount", "currency", "order_id", "card"):
            body = {"amount": "12.50", "currency": "EUR", "payment_method": "tok_success", field: CARD}
            headers = bearer(payments, ADA) | {"Idempotency-Key": field}
            url = f"http://127.0.0.1:{port}/payments/process"
            response = http.request("POST", url, json=body, headers=headers, retries=False)
            assert (response.status, CARD in response.data.decode()) == (422, False)
    finally:
        program.send_signal(signal.SIGTERM)
        log, _ = program.communicate(timeout=20)
    assert '"route": "/payments/process"' in log
    assert CARD not in log
