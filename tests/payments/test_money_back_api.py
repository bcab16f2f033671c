"""Staff take, let go and give back over the API; customers keep tokens; nobody gets a card number in."""

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
    """A request as a user of these roles, with a fresh key."""

    def send(method, path, user_id=ADA, *roles, json=None, key=None):
        headers = bearer(payments, user_id, *roles) | {"Idempotency-Key": key or str(uuid4())}
        return client(payments).open(path, method=method, headers=headers, json=json)

    return send


@pytest.fixture
def staff(call):
    return lambda method, path, json=None, key=None: call(method, path, EVE, "staff", json=json, key=key)


@pytest.fixture
def paid(call, orders):
    """A direct payment of Ada's, 12.50 EUR, as the bank has settled it; gives its id."""

    def pay(**changes):
        body = {"amount": "12.50", "currency": "EUR", "payment_method": "tok_success"} | changes
        payment_id = call("POST", "/payments/process", json=body).json["id"]
        orders.system.drain()
        return payment_id

    return pay


def look(staff, payment_id):
    seen = staff("GET", f"/payments/{payment_id}").json
    return seen["status"], seen["captured_amount"], seen["refunded_amount"]


def test_what_was_reserved_is_captured_later(staff, paid, orders, bank):
    payment_id = paid(capture=False)
    assert look(staff, payment_id) == ("authorized", "0.00", "0.00")
    assert staff("POST", f"/payments/{payment_id}/capture").status_code == 202
    orders.system.drain()
    assert look(staff, payment_id) == ("captured", "12.50", "0.00")
    assert [charge["status"] for charge in bank.charges(payment_id)] == ["captured"]
    assert staff("POST", f"/payments/{payment_id}/capture").status_code == 202


@pytest.mark.parametrize(("capture", "status", "refunded"), [(False, "voided", "0.00"), (True, "refunded", "12.50")])
def test_what_is_called_off_is_let_go_or_goes_back(staff, paid, orders, payments, capture, status, refunded):
    payment_id = paid(capture=capture)
    assert staff("POST", f"/payments/{payment_id}/void").status_code == 202
    orders.system.drain()
    assert look(staff, payment_id) == (status, "12.50" if capture else "0.00", refunded)
    assert staff("POST", f"/payments/{payment_id}/capture").status_code == 409
    assert (books.contradictions(payments), books.kept(payments)) == ([], 0)


def test_refunds_in_part_and_then_of_all_that_is_left(staff, call, paid, orders):
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


def test_more_than_is_left_is_refused_with_what_is_left(staff, paid):
    payment_id = paid()
    staff("POST", "/payments/refund", {"payment_id": payment_id, "amount": "12.00"})
    refused = staff("POST", "/payments/refund", {"payment_id": payment_id, "amount": "0.51"})
    assert (refused.status_code, refused.json["type"], refused.json["refundable"]) == (
        409,
        "/problems/not-refundable",
        "0.50 EUR",
    )


def test_one_key_is_one_refund_and_many_at_once_give_back_no_more_than_there_is(staff, paid, orders, bank, payments):
    payment_id = paid()
    body = {"payment_id": payment_id, "amount": "4.00"}
    with ThreadPoolExecutor(8) as pool:
        keyed = list(pool.map(lambda _: staff("POST", "/payments/refund", body, key="one"), range(4)))
        others = list(pool.map(lambda _: staff("POST", "/payments/refund", body).status_code, range(6)))
    assert len({answer.json["id"] for answer in keyed}) == 1
    assert sorted(others) == [201, 201, 409, 409, 409, 409]
    orders.system.drain()
    assert [charge["amount_refunded"] for charge in bank.charges(payment_id)] == [1200]
    assert (books.kept(payments), books.contradictions(payments)) == (50, [])


@pytest.mark.parametrize("method", ["tok_declined_expired_card", "tok_of_nobody"])
def test_what_was_never_captured_cannot_go_back(staff, paid, method):
    refused = staff("POST", "/payments/refund", {"payment_id": paid(payment_method=method)})
    assert (refused.status_code, refused.json["current"]) == (409, "declined")


def test_an_order_hears_of_a_refund_that_staff_asked_for_and_alone_moves_its_payment(staff, orders):
    order_id = uuid4()
    orders.say(orders.wants(order_id), CapturePayment(order_id))
    payment_id = str(orders.heard[0].payment_id)
    made = staff("POST", "/payments/refund", {"payment_id": payment_id, "amount": "1.00"}).json
    orders.system.drain()
    assert isinstance(orders.heard[-1], PaymentRefunded)
    assert (str(orders.heard[-1].refund_id), orders.heard[-1].amount) == (made["id"], 100)
    for verb in ("capture", "void"):
        refused = staff("POST", f"/payments/{payment_id}/{verb}")
        assert (refused.status_code, refused.json["order_id"]) == (409, str(order_id))


def test_only_staff_move_money_back_and_only_the_owner_and_staff_look(call, paid):
    payment_id = paid()
    assert call("POST", "/payments/refund", json={"payment_id": payment_id}).status_code == 403
    assert [call("POST", f"/payments/{payment_id}/{verb}").status_code for verb in ("capture", "void")] == [403, 403]
    looks = [call("GET", f"/payments/{payment_id}/refunds", user).status_code for user in (ADA, EVE)]
    assert looks == [200, 404]


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
def test_a_wrong_refund_is_refused_by_name(staff, paid, changes, status, field):
    answer = staff("POST", "/payments/refund", {"payment_id": paid()} | changes)
    assert (answer.status_code, CARD in answer.text) == (status, False)
    assert [wrong["field"] for wrong in answer.json.get("errors", [])] == ([field] if field else [])


def test_payment_methods_are_kept_by_their_token_and_each_user_sees_their_own(call):
    kept = call("POST", "/payments/methods", json={"token": "tok_success", "label": "Blue"})
    assert kept.status_code == 201
    again = call("POST", "/payments/methods", json={"token": "tok_success", "label": "Blue, new"})
    assert again.json["id"] == kept.json["id"]
    call("POST", "/payments/methods", EVE, json={"token": "tok_success", "label": "Hers"})
    assert [method["label"] for method in call("GET", "/payments/methods").json["items"]] == ["Blue, new"]
    path = f"/payments/methods/{kept.json['id']}"
    assert [call("DELETE", path, user).status_code for user in (EVE, ADA, ADA)] == [404, 204, 404]
    assert call("GET", "/payments/methods").json["items"] == []


def test_a_user_keeps_only_so_many_methods(call):
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
def test_a_card_number_is_refused_by_the_name_of_its_field_and_repeated_nowhere(call, payments, field, value):
    answer = call("POST", "/payments/methods", json={"token": "tok_success", "label": "Blue"} | {field: value})
    assert (answer.status_code, [wrong["field"] for wrong in answer.json["errors"]]) == (422, [field])
    assert not value or value not in answer.text
    assert call("GET", "/payments/methods").json["items"] == []


@pytest.mark.parametrize("label", ["Order 4242 4242", "+49 151 12345678", "4242424242424241", "2026-01-31 12:00:00"])
def test_other_numbers_are_no_card_numbers(call, label):
    assert call("POST", "/payments/methods", json={"token": "tok_success", "label": label}).status_code == 201
