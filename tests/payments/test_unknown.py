"""While the bank is slow, failing, unavailable or responds nonsense, nothing is lost and nothing is charged twice."""

import json
from contextlib import suppress
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text

from chassis.base import clock
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

UNAVAILABLE = {"sandbox_url": "http://127.0.0.1:1"}
SOON, LATER, MUCH_LATER = 10, 120, 3_600


def test_a_charge_whose_response_timed_out_is_found_by_the_next_attempt(orders, bank, staff, settings):
    command = orders.authorization(uuid4(), "tok_slow")
    with settings(provider_timeout_seconds=0.3), pytest.raises(ProviderUnavailable):
        orders.send(command)
    (payment_id,) = orders.payment_ids
    assert (staff.get(payment_id)["status"], orders.replies) == ("pending", [])
    orders.send(command)
    assert orders.reply_types == ["payment.authorized"]
    assert [charge["id"] for charge in bank.charges(payment_id)] == [staff.get(payment_id)["provider_reference"]]


def test_with_a_failing_bank_the_payment_stays_pending_until_the_sweeper_retries_it(orders, bank, staff, sweep):
    with pytest.raises(ProviderUnavailable):
        orders.send(orders.authorization(uuid4(), "tok_error"))
    (payment_id,) = orders.payment_ids
    assert sweep(SOON) == 0
    assert sweep(LATER) == 1
    assert REGISTRY.get_sample_value("souk_payments_overdue") == 1
    changed_at = REGISTRY.get_sample_value("souk_payments_oldest_unfinished_timestamp_seconds")
    assert 0 < clock.now().timestamp() - changed_at < LATER
    with pytest.raises(ProviderUnavailable):
        orders.system.drain()
    assert orders.payment_ids == [payment_id, payment_id]
    assert (staff.get(payment_id)["status"], bank.charges(payment_id), orders.replies) == ("pending", [], [])


@pytest.mark.parametrize(("method", "reply"), [("tok_success", "authorized"), ("tok_declined_stolen_card", "declined")])
def test_a_payment_begun_without_a_bank_gets_its_reply_once_the_bank_is_back(orders, sweep, settings, method, reply):
    with settings(**UNAVAILABLE), pytest.raises(ProviderUnavailable):
        orders.send(orders.authorization(uuid4(), method))
    sweep(LATER)
    orders.system.drain()
    assert orders.reply_types == [f"payment.{reply}"]


@pytest.mark.parametrize(("command", "status"), [(CapturePayment, "captured"), (VoidPayment, "voided")])
def test_a_capture_or_void_without_a_bank_is_done_once_the_bank_is_back(
    orders, bank, staff, sweep, settings, command, status
):
    order_id = uuid4()
    orders.send(orders.authorization(order_id))
    payment_id = orders.payment_ids[0]
    with settings(**UNAVAILABLE), pytest.raises(ProviderUnavailable):
        orders.send(command(order_id))
    assert staff.get(payment_id)["status"] == "authorized"
    assert sweep(LATER) == 1
    orders.system.drain()
    assert staff.get(payment_id)["status"] == status
    assert [charge["status"] for charge in bank.charges(payment_id)] == [status]


def test_a_settled_payment_is_never_swept(orders, sweep):
    for method, then in [
        ("tok_success", CapturePayment),
        ("tok_success", VoidPayment),
        ("tok_declined_stolen_card", None),
    ]:
        order_id = uuid4()
        orders.send(orders.authorization(order_id, method))
        if then is not None:
            orders.send(then(order_id))
    orders.send(orders.authorization(uuid4()), VoidPayment(uuid4()))
    assert sweep(86_400) == 0


def test_a_payment_unfinished_for_long_is_swept_less_often(orders, sweep, settings):
    with settings(**UNAVAILABLE), pytest.raises(ProviderUnavailable):
        orders.send(orders.authorization(uuid4()))
    assert sweep(MUCH_LATER) == 1
    assert sweep(MUCH_LATER + LATER) == 1
    assert sweep(MUCH_LATER + 660) == 2


def test_a_payment_in_progress_does_not_hold_up_the_sweep(orders, payments, sweep, settings):
    for _ in range(2):
        with settings(**UNAVAILABLE), pytest.raises(ProviderUnavailable):
            orders.send(orders.authorization(uuid4()))
    with payments.store.engine.connect() as busy:
        busy.execute(text("SELECT 1 FROM payments ORDER BY id LIMIT 1 FOR UPDATE"))
        assert sweep(LATER) == 1
    assert sweep(LATER) == 2


def time_out(orders, settings, **changes):
    """Run the tasks after the timeouts of authorisation and capture."""
    orders.age(timedelta(hours=1))
    with settings(**changes):
        orders.system.drain()


@pytest.mark.parametrize(("seconds", "declined"), [(600, []), (610, ["payment.declined"])])
def test_a_timeout_allows_for_another_machines_clock(orders, sweep, settings, seconds, declined):
    with settings(**UNAVAILABLE):
        with pytest.raises(ProviderUnavailable):
            orders.send(orders.authorization(uuid4()))
        orders.age(timedelta(seconds=seconds))
        sweep(LATER)
        with pytest.raises(ProviderUnavailable):
            orders.system.drain()
        with suppress(ProviderUnavailable):
            orders.system.drain()
    assert orders.reply_types == declined


def test_a_capture_has_a_time_of_its_own(orders):
    """However long before it the payment was authorised."""
    order_id = uuid4()
    orders.send(orders.authorization(order_id))
    orders.age(timedelta(days=1))
    orders.send(CapturePayment(order_id))
    assert orders.reply_types == ["payment.authorized", "payment.captured"]


def test_a_bank_that_keeps_failing_ends_in_a_decline_and_a_void(orders, bank, staff, sweep, settings):
    order_id = uuid4()
    command = orders.authorization(order_id, "tok_error")
    with pytest.raises(ProviderUnavailable):
        orders.send(command)
    (payment_id,) = orders.payment_ids
    sweep(LATER)
    time_out(orders, settings)
    assert orders.replies == [PaymentDeclined(order_id, UUID(payment_id), Reason.PROVIDER_UNAVAILABLE)]
    # The charge was requested just now, so that it may still appear.
    assert staff.get(payment_id)["status"] == "pending"
    assert sweep(LATER) == 1
    with settings(settling_seconds=0):
        orders.system.drain()
    assert (staff.get(payment_id)["status"], bank.charges(payment_id)) == ("voided", [])
    assert orders.replies[1:] == [PaymentVoided(order_id, UUID(payment_id))]
    assert sweep(MUCH_LATER) == 0
    orders.send(command)
    assert orders.replies[-1] == PaymentDeclined(order_id, UUID(payment_id), Reason.PROVIDER_UNAVAILABLE)


def test_a_hold_whose_response_was_lost_is_voided_when_the_payment_times_out(orders, bank, sweep, settings):
    order_id = uuid4()
    with pytest.raises(ProviderUnavailable):
        orders.send(orders.authorization(order_id, "tok_lost_response"))
    (payment_id,) = orders.payment_ids
    sweep(LATER)
    with pytest.raises(ProviderUnavailable):
        time_out(orders, settings, **UNAVAILABLE)
    assert orders.reply_types == ["payment.declined"]
    assert [charge["status"] for charge in bank.charges(payment_id)] == ["authorized"]
    sweep(LATER)
    orders.system.drain()
    assert orders.reply_types == ["payment.declined", "payment.voided"]
    assert [charge["status"] for charge in bank.charges(payment_id)] == ["voided"]


def test_a_charge_that_its_bank_no_longer_finds_keeps_its_name(orders, staff, interposed, settings):
    """With it, people can ask the bank."""
    order_id = uuid4()
    with settings(**interposed.settings, settling_seconds=0):
        orders.send(orders.authorization(order_id, "tok_pending"))
        (payment_id,) = orders.payment_ids
        reference = staff.get(payment_id)["provider_reference"]
        interposed.on_response = lambda method, path, sent: (200, b'{"items": []}')
        orders.send(VoidPayment(order_id))
    seen = staff.get(payment_id)
    assert (seen["status"], seen["provider_reference"]) == ("voided", reference)


@pytest.mark.parametrize("is_captured", [False, True])
def test_a_capture_that_times_out_is_refused_and_what_it_captured_is_refunded(
    orders, bank, payments, sweep, settings, is_captured
):
    order_id = uuid4()
    orders.send(orders.authorization(order_id))
    payment_id = orders.payment_ids[0]
    with settings(**UNAVAILABLE), pytest.raises(ProviderUnavailable):
        orders.send(CapturePayment(order_id))
    (charge,) = bank.charges(payment_id)
    if is_captured:
        bank.do(f"/{charge['id']}/capture")
    sweep(LATER)
    time_out(orders, settings)
    assert orders.replies[1:] == [
        CaptureRefused(order_id, UUID(payment_id), Reason.PROVIDER_UNAVAILABLE),
        PaymentVoided(order_id, UUID(payment_id)),
    ]
    (charge,) = bank.charges(payment_id)
    assert charge["amount_captured"] == charge["amount_refunded"] == (1250 if is_captured else 0)
    assert (books.kept(payments), books.contradictions(payments)) == (0, [])


def test_a_capture_that_the_bank_refuses_releases_the_hold(orders, bank, payments):
    order_id = uuid4()
    orders.send(orders.authorization(order_id, "tok_capture_refused"), CapturePayment(order_id))
    assert orders.reply_types == ["payment.authorized", "payment.capture_refused", "payment.voided"]
    assert [charge["status"] for charge in bank.charges(orders.payment_ids[0])] == ["voided"]
    assert books.contradictions(payments) == []


class ScriptedBank:
    """A provider with scripted responses: `respond(method, path)` returns status and body."""

    def __call__(self, environ, start_response):
        status, body = self.respond(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        start_response(f"{status} Scripted", [("Content-Type", "application/json")])
        return [body]


@pytest.fixture(scope="module")
def scripted_bank(serve):
    scripted_bank = ScriptedBank()
    scripted_bank.settings = {"sandbox_url": serve(scripted_bank)}
    return scripted_bank


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
def test_an_invalid_response_settles_nothing(orders, bank, staff, scripted_bank, settings, status, body):
    command = orders.authorization(uuid4())
    scripted_bank.respond = lambda method, path: (status, body)
    with settings(**scripted_bank.settings), pytest.raises(ProviderUnavailable):
        orders.send(command)
    (payment_id,) = orders.payment_ids
    assert staff.get(payment_id)["status"] == "pending"
    orders.send(command)
    assert (orders.reply_types, len(bank.charges(payment_id))) == (["payment.authorized"], 1)


def test_a_refusal_without_a_reason_declines_the_payment(orders, scripted_bank, settings):
    order_id = uuid4()
    scripted_bank.respond = lambda method, path: (422, b"no") if method == "POST" else (200, b'{"items": []}')
    with settings(**scripted_bank.settings):
        orders.send(orders.authorization(order_id))
    assert orders.replies == [PaymentDeclined(order_id, orders.replies[0].payment_id, Reason.REFUSED_BY_PROVIDER)]


def test_a_refusal_does_not_count_while_the_bank_has_a_charge_for_the_payment(orders, bank, payments):
    order_id = uuid4()
    orders.deliver(orders.authorization(order_id, amount=1250))
    with store.active(payments.store), payments.store.transaction():
        payment_id = postgres.session().scalar(text("SELECT id FROM payments"))
    terms = {"amount": 1300, "currency": "EUR", "source": "tok_success", "capture": False}
    bank.do("", key=str(payment_id), reference=str(payment_id), **terms)
    orders.system.drain()
    assert orders.replies == [PaymentAuthorized(order_id, payment_id)]
    assert len(bank.charges(payment_id)) == 1


@pytest.mark.parametrize(
    ("change", "command", "status", "replies"),
    [
        ("void", CapturePayment, "voided", ["payment.capture_refused"]),
        ("capture", VoidPayment, "refunded", ["payment.voided"]),
    ],
)
def test_a_change_made_at_the_bank_is_picked_up(orders, bank, staff, change, command, status, replies):
    order_id = uuid4()
    orders.send(orders.authorization(order_id))
    payment_id = orders.payment_ids[0]
    (charge,) = bank.charges(payment_id)
    bank.do(f"/{charge['id']}/{change}")
    orders.send(command(order_id))
    assert (staff.get(payment_id)["status"], orders.reply_types[1:]) == (status, replies)


def refusing(scripted_bank):
    """The bank authorizes one charge, and refuses all else. Returns the charge, which may be changed."""
    nothing = dict.fromkeys(("amount_captured", "amount_refunded", "amount_disputed", "amount_charged_back"), 0)
    charge = {"id": "ch_refusing", "status": "authorized", "decline_reason": None, **nothing}

    def refuse(method, path):
        if path != "/charges":
            return 409, b'{"title": "No."}'
        return 200, json.dumps(charge if method == "POST" else {"items": [charge]}).encode()

    scripted_bank.respond = refuse
    return charge


@pytest.mark.parametrize(
    ("command", "reason", "replies"),
    [
        (CapturePayment, "refused_by_provider", ["payment.authorized", "payment.capture_refused"]),
        (VoidPayment, "cancelled", ["payment.authorized"]),
    ],
)
def test_a_bank_that_neither_captures_nor_voids_fails_the_payment(
    orders, staff, sweep, scripted_bank, settings, command, reason, replies
):
    order_id = uuid4()
    refusing(scripted_bank)
    with settings(**scripted_bank.settings):
        orders.send(orders.authorization(order_id), command(order_id))
    seen = staff.get(orders.payment_ids[0])
    assert (seen["status"], seen["decline_reason"]) == ("failed", reason)
    assert (orders.reply_types, sweep(MUCH_LATER)) == (replies, 0)
    orders.send(VoidPayment(order_id), CapturePayment(order_id))
    assert staff.get(orders.payment_ids[0]) == seen
    assert orders.reply_types[len(replies) :] == ["payment.capture_refused"]


def test_a_hold_that_ends_at_the_bank_after_its_payment_failed_is_booked(
    orders, payments, staff, scripted_bank, settings
):
    order_id, charge = uuid4(), refusing(scripted_bank)
    with settings(**scripted_bank.settings):
        orders.send(orders.authorization(order_id), CapturePayment(order_id))
        payment_id = orders.payment_ids[0]
        assert staff.get(payment_id)["status"] == "failed"
        charge["status"] = "voided"
        payments.celery.run("payments.look_up", UUID(payment_id))
    assert staff.get(payment_id)["status"] == "voided"
    assert books.contradictions(payments) == []
