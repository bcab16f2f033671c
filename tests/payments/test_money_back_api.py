"""Captures, voids and refunds by staff, saved payment methods, and the refusal of card numbers."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from chassis.run.testing import bearer
from contracts.payments import CapturePayment, PaymentRefunded
from tests.payments import books

CARD = "4242-4242 4242 4242"
ADA, EVE = uuid4(), uuid4()


@pytest.fixture
def call(payments, client):
    """A request as a user with these roles, with a fresh idempotency key."""

    def send(method, path, user_id=ADA, *roles, json=None, key=None):
        headers = bearer(payments, user_id, *roles) | {"Idempotency-Key": key or str(uuid4())}
        return client(payments).open(path, method=method, headers=headers, json=json)

    return send


@pytest.fixture
def staff(call):
    return lambda method, path, json=None, key=None: call(method, path, EVE, "staff", json=json, key=key)


@pytest.fixture
def paid(call, orders):
    """A direct payment of 12.50 EUR by Ada, settled by the bank; returns its id."""

    def pay(**changes):
        body = {"amount": "12.50", "currency": "EUR", "payment_method": "tok_success"} | changes
        payment_id = call("POST", "/payments/process", json=body).json["id"]
        orders.system.drain()
        return payment_id

    return pay


def look(staff, payment_id):
    seen = staff("GET", f"/payments/{payment_id}").json
    return seen["status"], seen["captured_amount"], seen["refunded_amount"]


def test_an_authorized_payment_is_captured_later(staff, paid, orders, bank):
    payment_id = paid(capture=False)
    assert look(staff, payment_id) == ("authorized", "0.00", "0.00")
    assert staff("POST", f"/payments/{payment_id}/capture").status_code == 202
    orders.system.drain()
    assert look(staff, payment_id) == ("captured", "12.50", "0.00")
    assert [charge["status"] for charge in bank.charges(payment_id)] == ["captured"]
    assert staff("POST", f"/payments/{payment_id}/capture").status_code == 202


@pytest.mark.parametrize(("capture", "status", "refunded"), [(False, "voided", "0.00"), (True, "refunded", "12.50")])
def test_a_void_releases_or_refunds_the_payment(staff, paid, orders, payments, capture, status, refunded):
    payment_id = paid(capture=capture)
    assert staff("POST", f"/payments/{payment_id}/void").status_code == 202
    orders.system.drain()
    assert look(staff, payment_id) == (status, "12.50" if capture else "0.00", refunded)
    assert staff("POST", f"/payments/{payment_id}/capture").status_code == 409
    assert (books.contradictions(payments), books.kept(payments)) == ([], 0)


def test_a_partial_refund_and_then_the_rest(staff, call, paid, orders):
    payment_id = paid()
    first = staff(
        "POST", "/payments/refund", {"payment_id": payment_id, "amount": "2.50", "note": {"text": "A scratch."}}
    )
    assert (first.status_code, first.json["status"], first.json["amount"]) == (201, "pending", "2.50")
    assert first.headers["Location"] == f"/payments/{payment_id}/refunds"
    assert staff("POST", "/payments/refund", {"payment_id": payment_id}).json["amount"] == "10.00"
    orders.system.drain()
    assert look(staff, payment_id) == ("refunded", "12.50", "12.50")
    shown = call("GET", first.headers["Location"]).json["items"]
    assert [(refund["amount"], refund["status"]) for refund in shown] == [("2.50", "refunded"), ("10.00", "refunded")]
    assert [refund["note"] for refund in shown] == [None, None]
    assert staff("GET", first.headers["Location"]).json["items"][0]["note"] == "A scratch."


def test_staff_see_every_movement_of_a_payments_money(staff, call, paid, orders):
    payment_id = paid()
    staff("POST", "/payments/refund", {"payment_id": payment_id, "amount": "2.50"})
    orders.system.drain()
    path = f"/payments/{payment_id}/ledger"
    seen = [(each["move"], each["source"], each["target"], each["amount"]) for each in staff("GET", path).json["items"]]
    assert seen == [
        ("authorized", "customer", "held", "12.50"),
        ("captured", "held", "captured", "12.50"),
        ("refund_asked", "captured", "refunding", "2.50"),
        ("refunded", "refunding", "customer", "2.50"),
    ]
    assert call("GET", path).status_code == 403
    assert staff("GET", f"/payments/{uuid4()}/ledger").status_code == 404


def test_a_refund_beyond_the_rest_is_refused_with_the_refundable_amount(staff, paid):
    payment_id = paid()
    staff("POST", "/payments/refund", {"payment_id": payment_id, "amount": "12.00"})
    refused = staff("POST", "/payments/refund", {"payment_id": payment_id, "amount": "0.51"})
    assert (refused.status_code, refused.json["type"], refused.json["refundable"]) == (
        409,
        "/problems/not-refundable",
        "0.50",
    )


def test_an_idempotency_key_is_one_refund_and_concurrent_refunds_never_exceed_the_capture(
    staff, paid, orders, bank, payments
):
    payment_id = paid()
    body = {"payment_id": payment_id, "amount": "4.00"}
    with ThreadPoolExecutor(8) as pool:
        keyed = list(pool.map(lambda _: staff("POST", "/payments/refund", body, key="one"), range(4)))
        others = list(pool.map(lambda _: staff("POST", "/payments/refund", body).status_code, range(6)))
    assert len({response.json["id"] for response in keyed}) == 1
    assert sorted(others) == [201, 201, 409, 409, 409, 409]
    orders.system.drain()
    assert [charge["amount_refunded"] for charge in bank.charges(payment_id)] == [1200]
    assert (books.kept(payments), books.contradictions(payments)) == (50, [])


@pytest.mark.parametrize("method", ["tok_declined_expired_card", "tok_unknown"])
def test_a_payment_that_was_never_captured_cannot_be_refunded(staff, paid, method):
    refused = staff("POST", "/payments/refund", {"payment_id": paid(payment_method=method)})
    assert (refused.status_code, refused.json["current"]) == (409, "declined")


def test_an_order_is_notified_of_a_refund_by_staff_and_alone_captures_or_voids_its_payment(staff, orders):
    order_id = uuid4()
    orders.send(orders.authorization(order_id), CapturePayment(order_id))
    payment_id = str(orders.replies[0].payment_id)
    made = staff("POST", "/payments/refund", {"payment_id": payment_id, "amount": "1.00"}).json
    orders.system.drain()
    assert isinstance(orders.replies[-1], PaymentRefunded)
    assert (str(orders.replies[-1].refund_id), orders.replies[-1].amount) == (made["id"], 100)
    for verb in ("capture", "void"):
        refused = staff("POST", f"/payments/{payment_id}/{verb}")
        assert (refused.status_code, refused.json["order_id"]) == (409, str(order_id))


def test_only_staff_refund_and_only_the_owner_and_staff_see_refunds(call, paid):
    payment_id = paid()
    assert call("POST", "/payments/refund", json={"payment_id": payment_id}).status_code == 403
    assert [call("POST", f"/payments/{payment_id}/{verb}").status_code for verb in ("capture", "void")] == [403, 403]
    statuses = [call("GET", f"/payments/{payment_id}/refunds", user).status_code for user in (ADA, EVE)]
    assert statuses == [200, 404]


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"amount": "0"}, 422, "amount"),
        ({"amount": 1.5}, 422, "amount"),
        ({"note": {"text": f"Charged {CARD} twice."}}, 422, "note.text"),
        ({"note": {"text": "x" * 201}}, 422, "note.text"),
        ({"payment_id": "1"}, 422, "payment_id"),
        ({"payment_id": str(uuid4())}, 404, None),
    ],
)
def test_an_invalid_field_of_a_refund_is_named(staff, paid, changes, status, field):
    response = staff("POST", "/payments/refund", {"payment_id": paid()} | changes)
    assert (response.status_code, CARD in response.text) == (status, False)
    assert [error["field"] for error in response.json.get("errors", [])] == ([field] if field else [])


def test_payment_methods_are_saved_by_token_and_visible_to_their_owner(call):
    saved = call("POST", "/payments/methods", json={"token": "tok_success", "label": "Blue"})
    assert saved.status_code == 201
    again = call("POST", "/payments/methods", json={"token": "tok_success", "label": "Blue, new"})
    assert again.json["id"] == saved.json["id"]
    call("POST", "/payments/methods", EVE, json={"token": "tok_success", "label": "Hers"})
    assert [method["label"] for method in call("GET", "/payments/methods").json["items"]] == ["Blue, new"]
    path = f"/payments/methods/{saved.json['id']}"
    assert [call("DELETE", path, user).status_code for user in (EVE, ADA, ADA)] == [404, 204, 404]
    assert call("GET", "/payments/methods").json["items"] == []


def test_a_user_has_a_maximum_number_of_methods(call):
    for number in range(20):
        assert call("POST", "/payments/methods", json={"token": f"tok_{number}", "label": "x"}).status_code == 201
    assert call("POST", "/payments/methods", json={"token": "tok_x", "label": "x"}).status_code == 409
    assert len(call("GET", "/payments/methods").json["items"]) == 20


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("token", CARD),
        ("token", "tok_4242424242424242"),
        ("token", "pm_5555555555554444"),
        ("label", CARD),
        ("label", "card 378282246310005"),
        ("label", ""),
    ],
)
def test_a_card_number_is_refused_with_its_field_and_not_repeated(call, payments, field, value):
    response = call("POST", "/payments/methods", json={"token": "tok_success", "label": "Blue"} | {field: value})
    assert (response.status_code, [error["field"] for error in response.json["errors"]]) == (422, [field])
    assert not value or value not in response.text
    assert call("GET", "/payments/methods").json["items"] == []


@pytest.mark.parametrize("label", ["Order 4242 4242", "+49 151 12345678", "4242424242424241", "2026-01-31 12:00:00"])
def test_other_numbers_are_not_card_numbers(call, label):
    assert call("POST", "/payments/methods", json={"token": "tok_success", "label": label}).status_code == 201
