"""Whatever orders asks for, however often and in whatever order: one charge at the bank, and an answer that stays the same."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from contracts.payments import (
    CapturePayment,
    CaptureRefused,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentDeclined,
    PaymentVoided,
    VoidPayment,
)
from contracts.reasons import Reason
from services.payments.providers import ProviderUnavailable


def payment_of(orders):
    return orders.heard[-1].payment_id


def test_a_payment_is_authorized_then_captured(orders, bank, staff):
    order_id, user_id = uuid4(), uuid4()
    orders.say(orders.wants(order_id, user_id=user_id))
    payment_id = payment_of(orders)
    assert orders.heard == [PaymentAuthorized(order_id, payment_id)]
    assert [charge["status"] for charge in bank.charges(payment_id)] == ["authorized"]

    orders.say(CapturePayment(order_id))
    assert orders.heard[1:] == [PaymentCaptured(order_id, payment_id, 1250, "EUR")]
    (charge,) = bank.charges(payment_id)
    assert (charge["status"], charge["amount_captured"]) == ("captured", 1250)
    seen = staff.sees(payment_id)
    assert (seen["status"], seen["amount"], seen["currency"]) == ("captured", "12.50", "EUR")
    assert (seen["order_id"], seen["user_id"]) == (str(order_id), str(user_id))
    assert seen["provider_reference"] == charge["id"]


@pytest.mark.parametrize(
    ("method", "changes", "reason"),
    [
        ("tok_declined_insufficient_funds", {}, "insufficient_funds"),
        ("tok_declined_stolen_card", {}, "stolen_card"),
        ("tok_of_nobody", {}, "invalid_payment_method"),
        ("4111111111111111", {}, "invalid_payment_method"),
        ("tok_success", {"currency": "USD"}, "invalid_currency"),
        ("tok_success", {"amount": 0}, "invalid_amount"),
    ],
)
def test_a_payment_is_declined_with_its_reason(orders, staff, method, changes, reason):
    order_id = uuid4()
    orders.say(orders.wants(order_id, method, **changes))
    assert orders.heard == [PaymentDeclined(order_id, payment_of(orders), reason)]
    seen = staff.sees(payment_of(orders))
    assert (seen["status"], seen["decline_reason"]) == ("declined", reason)


def test_a_wish_repeated_before_and_after_its_answer_is_one_charge_and_the_same_answer(orders, bank):
    order_id = uuid4()
    wish = orders.wants(order_id)
    orders.post(wish)
    orders.post(wish)
    orders.say(wish)
    assert set(orders.heard_types) == {"payment.authorized"}
    orders.say(wish, CapturePayment(order_id), CapturePayment(order_id), wish)
    assert orders.heard_types[-4:] == [
        "payment.authorized",
        "payment.captured",
        "payment.captured",
        "payment.authorized",
    ]
    payment_ids = {message.payment_id for message in orders.heard}
    assert [len(bank.charges(payment_id)) for payment_id in payment_ids] == [1]
    assert orders.system.dead_letters == []


def test_a_declined_payment_stays_declined_when_it_is_asked_for_again(orders, bank):
    wish = orders.wants(uuid4(), "tok_declined_stolen_card")
    orders.say(wish, wish)
    assert len(set(orders.heard)) == 1
    assert len(bank.charges(payment_of(orders))) == 1


def test_a_payment_that_five_tasks_bring_forward_at_once_is_one_charge_and_one_answer(orders, bank, payments):
    orders.post(orders.wants(uuid4()))
    with payments.store.source.unsent() as batch:
        task = batch.unsent[0]
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda _: orders.system.deliver(payments, task), range(5)))
    orders.system.drain()
    assert orders.heard_types == ["payment.authorized"]
    assert len(bank.charges(payment_of(orders))) == 1


def test_a_payment_called_off_before_it_is_asked_for_is_never_made(orders, bank, staff):
    order_id, user_id = uuid4(), uuid4()
    orders.say(VoidPayment(order_id), VoidPayment(order_id))
    assert orders.heard == [PaymentVoided(order_id, payment_of(orders))] * 2
    orders.say(orders.wants(order_id, user_id=user_id))
    assert orders.heard[2:] == [PaymentDeclined(order_id, payment_of(orders), Reason.CANCELLED)]
    assert bank.charges(payment_of(orders)) == []
    seen = staff.sees(payment_of(orders))
    assert (seen["status"], seen["user_id"], seen["amount"]) == ("voided", str(user_id), "12.50")


def test_a_payment_called_off_before_the_bank_is_asked_is_never_made(orders, bank, payments):
    order_id = uuid4()
    orders.post(orders.wants(order_id))
    orders.say(VoidPayment(order_id), orders.wants(order_id))
    assert orders.heard_types == ["payment.voided", "payment.declined"]
    assert bank.charges(payment_of(orders)) == []


def test_an_authorized_payment_that_is_called_off_is_voided_at_the_bank(orders, bank, staff):
    order_id = uuid4()
    orders.say(orders.wants(order_id))
    payment_id = payment_of(orders)
    orders.say(VoidPayment(order_id), VoidPayment(order_id))
    assert [charge["status"] for charge in bank.charges(payment_id)] == ["voided"]
    assert staff.sees(payment_id)["status"] == "voided"
    assert orders.heard[1:] == [PaymentVoided(order_id, payment_id)] * 2


def test_a_charge_whose_answer_was_lost_is_voided_when_its_payment_is_called_off(orders, bank, staff, settings):
    order_id = uuid4()
    wish = orders.wants(order_id, "tok_slow")
    with settings(provider_timeout_seconds=0.3), pytest.raises(ProviderUnavailable):
        orders.say(wish)
    orders.say(VoidPayment(order_id), wish)
    payment_id = payment_of(orders)
    assert orders.heard == [
        PaymentVoided(order_id, payment_id),
        PaymentDeclined(order_id, payment_id, Reason.CANCELLED),
    ]
    assert [charge["status"] for charge in bank.charges(payment_of(orders))] == ["voided"]
    assert staff.sees(payment_of(orders))["status"] == "voided"


def test_a_wish_and_its_calling_off_at_the_same_time_leave_no_money_held(orders, bank, payments):
    order_ids = [uuid4() for _ in range(8)]
    wishes = [orders.wants(order_id) for order_id in order_ids]
    both = [message for wish in wishes for message in (wish, VoidPayment(wish.order_id))]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(orders.post, both))
    orders.system.drain()
    orders.system.redrain()
    orders.say(*wishes)
    final = {message.order_id: message for message in orders.heard}
    assert [final[order_id].reason for order_id in order_ids] == ["cancelled"] * 8
    assert [bank.charges(message.payment_id) for message in final.values()] == [[]] * 8


@pytest.mark.parametrize(
    ("method", "messages", "status"),
    [
        ("tok_success", [CapturePayment, VoidPayment], "refunded"),
        ("tok_success", [VoidPayment, CapturePayment], "voided"),
        ("tok_success", [VoidPayment, VoidPayment, CapturePayment, CapturePayment], "voided"),
        ("tok_success", [CapturePayment, VoidPayment, CapturePayment, VoidPayment], "refunded"),
        ("tok_declined_stolen_card", [CapturePayment, VoidPayment], "declined"),
        ("tok_declined_stolen_card", [VoidPayment, CapturePayment], "declined"),
    ],
)
def test_a_payment_that_is_called_off_costs_nothing_whenever_that_is_said(orders, staff, method, messages, status):
    order_id = uuid4()
    orders.say(orders.wants(order_id, method))
    payment_id = payment_of(orders)
    orders.say(*(message(order_id) for message in messages))
    assert (staff.sees(payment_id)["status"], orders.system.dead_letters) == (status, [])
    reason = "stolen_card" if status == "declined" else "cancelled"
    orders.say(VoidPayment(order_id), CapturePayment(order_id))
    assert orders.heard[-2:] == [PaymentVoided(order_id, payment_id), CaptureRefused(order_id, payment_id, reason)]


def test_calling_off_a_declined_payment_changes_nothing(orders, staff):
    order_id = uuid4()
    orders.say(orders.wants(order_id, "tok_declined_stolen_card"), VoidPayment(order_id))
    assert staff.sees(payment_of(orders))["status"] == "declined"
    assert orders.system.dead_letters == []


def test_a_capture_for_an_order_that_never_paid_is_a_dead_letter(orders):
    orders.say(CapturePayment(uuid4()))
    assert [envelope.type for _, envelope, _ in orders.system.dead_letters] == ["payment.capture"]
