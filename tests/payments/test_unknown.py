"""While the bank is slow, failing, away or talking nonsense nothing is known, nothing is lost and nothing is charged twice."""

import json
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from chassis.storage import postgres, store
from contracts.payments import (
    CapturePayment,
    CaptureRefused,
    PaymentAuthorized,
    PaymentDeclined,
    PaymentVoided,
    VoidPayment,
)
from contracts.reasons import Reason
from services.payments.providers import ProviderUnavailable
from tests.payments import books

AWAY = {"sandbox_url": "http://127.0.0.1:1"}
SOON, LATER, MUCH_LATER = 10, 120, 3_600


def test_a_charge_whose_answer_came_too_late_is_found_again_by_the_next_try(orders, bank, staff, settings):
    wish = orders.wants(uuid4(), "tok_slow")
    with settings(provider_timeout_seconds=0.3), pytest.raises(ProviderUnavailable):
        orders.say(wish)
    (payment_id,) = orders.payment_ids
    assert (staff.sees(payment_id)["status"], orders.heard) == ("pending", [])
    orders.say(wish)
    assert orders.heard_types == ["payment.authorized"]
    assert [charge["id"] for charge in bank.charges(payment_id)] == [staff.sees(payment_id)["provider_reference"]]


def test_a_failing_bank_leaves_the_payment_pending_until_the_sweeper_takes_it_up(orders, bank, staff, sweep):
    with pytest.raises(ProviderUnavailable):
        orders.say(orders.wants(uuid4(), "tok_error"))
    (payment_id,) = orders.payment_ids
    assert sweep(SOON) == 0
    assert sweep(LATER) == 1
    with pytest.raises(ProviderUnavailable):
        orders.system.drain()
    assert orders.payment_ids == [payment_id, payment_id]
    assert (staff.sees(payment_id)["status"], bank.charges(payment_id), orders.heard) == ("pending", [], [])


@pytest.mark.parametrize(
    ("method", "answer"), [("tok_success", "authorized"), ("tok_declined_stolen_card", "declined")]
)
def test_a_payment_that_met_no_bank_is_answered_once_the_bank_is_back(orders, sweep, settings, method, answer):
    with settings(**AWAY), pytest.raises(ProviderUnavailable):
        orders.say(orders.wants(uuid4(), method))
    sweep(LATER)
    orders.system.drain()
    assert orders.heard_types == [f"payment.{answer}"]


@pytest.mark.parametrize(("command", "status"), [(CapturePayment, "captured"), (VoidPayment, "voided")])
def test_a_capture_or_void_that_met_no_bank_is_done_once_the_bank_is_back(
    orders, bank, staff, sweep, settings, command, status
):
    order_id = uuid4()
    orders.say(orders.wants(order_id))
    payment_id = orders.payment_ids[0]
    with settings(**AWAY), pytest.raises(ProviderUnavailable):
        orders.say(command(order_id))
    assert staff.sees(payment_id)["status"] == "authorized"
    assert sweep(LATER) == 1
    orders.system.drain()
    assert staff.sees(payment_id)["status"] == status
    assert [charge["status"] for charge in bank.charges(payment_id)] == [status]


def test_what_is_settled_is_never_swept(orders, sweep):
    for method, then in [
        ("tok_success", CapturePayment),
        ("tok_success", VoidPayment),
        ("tok_declined_stolen_card", None),
    ]:
        order_id = uuid4()
        orders.say(orders.wants(order_id, method))
        if then is not None:
            orders.say(then(order_id))
    orders.say(orders.wants(uuid4()), VoidPayment(uuid4()))
    assert sweep(86_400) == 0


def test_what_stays_unfinished_for_long_is_swept_less_often(orders, sweep, settings):
    with settings(**AWAY), pytest.raises(ProviderUnavailable):
        orders.say(orders.wants(uuid4()))
    assert sweep(MUCH_LATER) == 1
    assert sweep(MUCH_LATER + LATER) == 1
    assert sweep(MUCH_LATER + 660) == 2


def give_up(orders, settings, **changes):
    """Work while the provider has been silent for longer than anybody waits."""
    with settings(authorize_patience_seconds=1e-6, capture_patience_seconds=1e-6, **changes):
        orders.system.drain()


def test_a_bank_that_fails_for_ever_ends_in_a_decline_and_no_charge_once_that_is_sure(
    orders, bank, staff, sweep, settings
):
    order_id = uuid4()
    wish = orders.wants(order_id, "tok_error")
    with pytest.raises(ProviderUnavailable):
        orders.say(wish)
    (payment_id,) = orders.payment_ids
    sweep(LATER)
    give_up(orders, settings)
    assert orders.heard == [PaymentDeclined(order_id, UUID(payment_id), Reason.PROVIDER_UNAVAILABLE)]
    # Just now the bank was asked to charge: that it shows nothing may be too soon.
    assert staff.sees(payment_id)["status"] == "pending"
    assert sweep(LATER) == 1
    with settings(settling_seconds=0):
        orders.system.drain()
    assert (staff.sees(payment_id)["status"], bank.charges(payment_id)) == ("voided", [])
    assert orders.heard[1:] == [PaymentVoided(order_id, UUID(payment_id))]
    assert sweep(MUCH_LATER) == 0
    orders.say(wish)
    assert orders.heard[-1] == PaymentDeclined(order_id, UUID(payment_id), Reason.PROVIDER_UNAVAILABLE)


def test_a_hold_of_which_the_answer_never_came_is_let_go_when_the_payment_is_given_up(orders, bank, sweep, settings):
    order_id = uuid4()
    with pytest.raises(ProviderUnavailable):
        orders.say(orders.wants(order_id, "tok_lost_response"))
    (payment_id,) = orders.payment_ids
    sweep(LATER)
    with pytest.raises(ProviderUnavailable):
        give_up(orders, settings, **AWAY)
    assert orders.heard_types == ["payment.declined"]
    assert [charge["status"] for charge in bank.charges(payment_id)] == ["authorized"]
    sweep(LATER)
    orders.system.drain()
    assert orders.heard_types == ["payment.declined", "payment.voided"]
    assert [charge["status"] for charge in bank.charges(payment_id)] == ["voided"]


@pytest.mark.parametrize("is_taken", [False, True])
def test_a_capture_that_never_answers_is_refused_and_what_it_took_after_all_goes_back(
    orders, bank, payments, sweep, settings, is_taken
):
    order_id = uuid4()
    orders.say(orders.wants(order_id))
    payment_id = orders.payment_ids[0]
    with settings(**AWAY), pytest.raises(ProviderUnavailable):
        orders.say(CapturePayment(order_id))
    (charge,) = bank.charges(payment_id)
    if is_taken:
        bank.do(f"/{charge['id']}/capture")
    sweep(LATER)
    give_up(orders, settings)
    assert orders.heard[1:] == [
        CaptureRefused(order_id, UUID(payment_id), Reason.PROVIDER_UNAVAILABLE),
        PaymentVoided(order_id, UUID(payment_id)),
    ]
    (charge,) = bank.charges(payment_id)
    assert charge["amount_captured"] == charge["amount_refunded"] == (1250 if is_taken else 0)
    assert (books.kept(payments), books.contradictions(payments)) == (0, [])


def test_a_capture_that_the_bank_refuses_lets_the_hold_go(orders, bank, payments):
    order_id = uuid4()
    orders.say(orders.wants(order_id, "tok_capture_refused"), CapturePayment(order_id))
    assert orders.heard_types == ["payment.authorized", "payment.capture_refused", "payment.voided"]
    assert [charge["status"] for charge in bank.charges(orders.payment_ids[0])] == ["voided"]
    assert books.contradictions(payments) == []


class OddBank:
    """A provider that answers as it is told: `answer(method, path)` gives status and body."""

    def __call__(self, environ, start_response):
        status, body = self.answer(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        start_response(f"{status} Said", [("Content-Type", "application/json")])
        return [body]


@pytest.fixture(scope="module")
def odd_bank(serve):
    odd_bank = OddBank()
    odd_bank.settings = {"sandbox_url": serve(odd_bank)}
    return odd_bank


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, b'{"title": "Unauthorized"}'),
        (302, b""),
        (429, b""),
        (503, b"<html>"),
        (200, b"<html>"),
        (200, b'{"id": 1}'),
        (201, b'{"id": "ch_1", "status": "perhaps", "decline_reason": null}'),
        (201, b""),
    ],
)
def test_an_answer_that_makes_no_sense_settles_nothing(orders, bank, staff, odd_bank, settings, status, body):
    wish = orders.wants(uuid4())
    odd_bank.answer = lambda method, path: (status, body)
    with settings(**odd_bank.settings), pytest.raises(ProviderUnavailable):
        orders.say(wish)
    (payment_id,) = orders.payment_ids
    assert staff.sees(payment_id)["status"] == "pending"
    orders.say(wish)
    assert (orders.heard_types, len(bank.charges(payment_id))) == (["payment.authorized"], 1)


def test_a_refusal_without_a_word_declines_the_payment(orders, odd_bank, settings):
    order_id = uuid4()
    odd_bank.answer = lambda method, path: (422, b"no") if method == "POST" else (200, b'{"items": []}')
    with settings(**odd_bank.settings):
        orders.say(orders.wants(order_id))
    assert orders.heard == [PaymentDeclined(order_id, orders.heard[0].payment_id, Reason.REFUSED_BY_PROVIDER)]


def test_a_refusal_is_not_believed_while_the_bank_holds_a_charge_for_the_payment(orders, bank, payments):
    order_id = uuid4()
    orders.post(orders.wants(order_id, amount=1250))
    with store.active(payments.store), payments.store.transaction():
        payment_id = postgres.session().scalar(text("SELECT id FROM payments"))
    terms = {"amount": 1300, "currency": "EUR", "source": "tok_success", "capture": False}
    bank.do("", key=str(payment_id), reference=str(payment_id), **terms)
    orders.system.drain()
    assert orders.heard == [PaymentAuthorized(order_id, payment_id)]
    assert len(bank.charges(payment_id)) == 1


@pytest.mark.parametrize(
    ("behind_our_back", "command", "status", "answers"),
    [
        ("void", CapturePayment, "voided", ["payment.capture_refused"]),
        ("capture", VoidPayment, "refunded", ["payment.voided"]),
    ],
)
def test_what_the_bank_did_behind_our_back_is_what_is_true(
    orders, bank, staff, behind_our_back, command, status, answers
):
    order_id = uuid4()
    orders.say(orders.wants(order_id))
    payment_id = orders.payment_ids[0]
    (charge,) = bank.charges(payment_id)
    bank.do(f"/{charge['id']}/{behind_our_back}")
    orders.say(command(order_id))
    assert (staff.sees(payment_id)["status"], orders.heard_types[1:]) == (status, answers)


@pytest.mark.parametrize(
    ("command", "reason", "answers"),
    [
        (CapturePayment, "refused_by_provider", ["payment.authorized", "payment.capture_refused"]),
        (VoidPayment, "cancelled", ["payment.authorized"]),
    ],
)
def test_a_bank_that_will_neither_take_nor_free_the_money_fails_the_payment(
    orders, staff, sweep, odd_bank, settings, command, reason, answers
):
    charge = {"id": "ch_stubborn", "status": "authorized", "decline_reason": None}

    def stubborn(method, path):
        if path != "/charges":
            return 409, b'{"title": "No."}'
        return 200, json.dumps(charge if method == "POST" else {"items": [charge]}).encode()

    order_id, odd_bank.answer = uuid4(), stubborn
    with settings(**odd_bank.settings):
        orders.say(orders.wants(order_id), command(order_id))
    seen = staff.sees(orders.payment_ids[0])
    assert (seen["status"], seen["decline_reason"]) == ("failed", reason)
    assert (orders.heard_types, sweep(MUCH_LATER)) == (answers, 0)
    orders.say(VoidPayment(order_id), CapturePayment(order_id))
    assert staff.sees(orders.payment_ids[0]) == seen
    assert orders.heard_types[len(answers) :] == ["payment.capture_refused"]
