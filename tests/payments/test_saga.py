"""Commands in any number and order make one charge at the bank, and get the same reply each time."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from sqlalchemy import text

from chassis.messaging.envelope import Envelope
from chassis.storage import postgres
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
from services.payments.models import Payment
from services.payments.providers import ProviderUnavailable
from tests.conftest import waiting_for_locks
from tests.installation import until


def payment_of(orders):
    return orders.replies[-1].payment_id


def test_a_payment_is_authorized_then_captured(orders, bank, staff):
    order_id, user_id = uuid4(), uuid4()
    orders.send(orders.authorization(order_id, user_id=user_id))
    payment_id = payment_of(orders)
    assert orders.replies == [PaymentAuthorized(order_id, payment_id)]
    assert [charge["status"] for charge in bank.charges(payment_id)] == ["authorized"]

    orders.send(CapturePayment(order_id))
    assert orders.replies[1:] == [PaymentCaptured(order_id, payment_id, 1250, "EUR")]
    (charge,) = bank.charges(payment_id)
    assert (charge["status"], charge["amount_captured"]) == ("captured", 1250)
    seen = staff.get(payment_id)
    assert (seen["status"], seen["amount"], seen["currency"]) == ("captured", "12.50", "EUR")
    assert (seen["order_id"], seen["user_id"]) == (str(order_id), str(user_id))
    assert seen["provider_reference"] == charge["id"]


@pytest.mark.parametrize(
    ("method", "changes", "reason"),
    [
        ("tok_declined_insufficient_funds", {}, "insufficient_funds"),
        ("tok_declined_stolen_card", {}, "stolen_card"),
        ("tok_unknown", {}, "invalid_payment_method"),
        ("4111111111111111", {}, "invalid_payment_method"),
        ("tok_success", {"currency": "USD"}, "invalid_currency"),
        ("tok_success", {"amount": 0}, "invalid_amount"),
    ],
)
def test_a_payment_is_declined_with_its_reason(orders, staff, method, changes, reason):
    order_id = uuid4()
    orders.send(orders.authorization(order_id, method, **changes))
    assert orders.replies == [PaymentDeclined(order_id, payment_of(orders), reason)]
    seen = staff.get(payment_of(orders))
    assert (seen["status"], seen["decline_reason"]) == ("declined", reason)


def test_a_command_repeated_before_and_after_its_reply_is_one_charge_and_one_reply(orders, bank):
    order_id = uuid4()
    command = orders.authorization(order_id)
    orders.deliver(command)
    orders.deliver(command)
    orders.send(command)
    assert set(orders.reply_types) == {"payment.authorized"}
    orders.send(command, CapturePayment(order_id), CapturePayment(order_id), command)
    assert orders.reply_types[-4:] == [
        "payment.authorized",
        "payment.captured",
        "payment.captured",
        "payment.authorized",
    ]
    payment_ids = {message.payment_id for message in orders.replies}
    assert [len(bank.charges(payment_id)) for payment_id in payment_ids] == [1]
    assert orders.system.dead_letters == []


def test_a_payments_terms_never_change(orders, staff):
    order_id = uuid4()
    orders.send(orders.authorization(order_id), orders.authorization(order_id, amount=9_900), CapturePayment(order_id))
    assert staff.get(payment_of(orders))["amount"] == "12.50"
    assert orders.replies[-1] == PaymentCaptured(order_id, payment_of(orders), 1250, "EUR")


def test_messages_handled_together_create_their_payments_in_one_order(orders, payments):
    """Else two batches could wait for each other."""
    low, high = sorted((uuid4(), uuid4()), key=str)

    def create(order_id):
        Payment.lock_orders([], [Payment.new_called_off(order_id, "sandbox")])

    def create_at_once(order_id):
        with payments.store.transaction():
            postgres.session().execute(text("SET LOCAL lock_timeout = '2s'"))
            create(order_id)

    batch = [Envelope.of(orders.authorization(order_id), "orders") for order_id in (high, low)]
    with ThreadPoolExecutor(2) as pool:
        with payments.store.transaction():
            create(low)
            handled = pool.submit(orders.system.deliver_together, payments, batch)
            until(lambda: waiting_for_locks(payments) == 1)
            pool.submit(create_at_once, high).result()
        handled.result()


def test_a_declined_payment_stays_declined_when_it_is_requested_again(orders, bank):
    command = orders.authorization(uuid4(), "tok_declined_stolen_card")
    orders.send(command, command)
    assert len(set(orders.replies)) == 1
    assert len(bank.charges(payment_of(orders))) == 1


def test_five_concurrent_tasks_for_a_payment_make_one_charge_and_one_reply(orders, bank, payments):
    orders.deliver(orders.authorization(uuid4()))
    with payments.store.source.unsent() as batch:
        task = batch.unsent[0]
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda _: orders.system.deliver(payments, task), range(5)))
    orders.system.drain()
    assert orders.reply_types == ["payment.authorized"]
    assert len(bank.charges(payment_of(orders))) == 1


def test_a_payment_voided_before_its_authorization_is_never_charged(orders, bank, staff):
    order_id, user_id = uuid4(), uuid4()
    orders.send(VoidPayment(order_id), VoidPayment(order_id))
    assert orders.replies == [PaymentVoided(order_id, payment_of(orders))] * 2
    orders.send(orders.authorization(order_id, user_id=user_id))
    assert orders.replies[2:] == [PaymentDeclined(order_id, payment_of(orders), Reason.CANCELLED)]
    assert bank.charges(payment_of(orders)) == []
    seen = staff.get(payment_of(orders))
    assert (seen["status"], seen["user_id"], seen["amount"]) == ("voided", str(user_id), "12.50")


def test_a_payment_voided_before_the_bank_is_called_is_never_charged(orders, bank, payments):
    order_id = uuid4()
    orders.deliver(orders.authorization(order_id))
    orders.send(VoidPayment(order_id), orders.authorization(order_id))
    assert orders.reply_types == ["payment.voided", "payment.declined"]
    assert bank.charges(payment_of(orders)) == []


def test_an_authorized_payment_is_voided_at_the_bank(orders, bank, staff):
    order_id = uuid4()
    orders.send(orders.authorization(order_id))
    payment_id = payment_of(orders)
    orders.send(VoidPayment(order_id), VoidPayment(order_id))
    assert [charge["status"] for charge in bank.charges(payment_id)] == ["voided"]
    assert staff.get(payment_id)["status"] == "voided"
    assert orders.replies[1:] == [PaymentVoided(order_id, payment_id)] * 2


def test_a_charge_whose_response_was_lost_is_voided_with_its_payment(orders, bank, staff, settings):
    order_id = uuid4()
    command = orders.authorization(order_id, "tok_slow")
    with settings(provider_timeout_seconds=0.3), pytest.raises(ProviderUnavailable):
        orders.send(command)
    orders.send(VoidPayment(order_id), command)
    payment_id = payment_of(orders)
    assert orders.replies == [
        PaymentVoided(order_id, payment_id),
        PaymentDeclined(order_id, payment_id, Reason.CANCELLED),
    ]
    assert [charge["status"] for charge in bank.charges(payment_of(orders))] == ["voided"]
    assert staff.get(payment_of(orders))["status"] == "voided"


def test_concurrent_authorizations_and_voids_leave_no_money_held(orders, bank, payments):
    order_ids = [uuid4() for _ in range(8)]
    commands = [orders.authorization(order_id) for order_id in order_ids]
    both = [message for command in commands for message in (command, VoidPayment(command.order_id))]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(orders.deliver, both))
    orders.system.drain()
    orders.system.redrain()
    orders.send(*commands)
    final = {message.order_id: message for message in orders.replies}
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
def test_a_voided_payment_costs_nothing_in_whatever_order_commands_come(orders, staff, method, messages, status):
    order_id = uuid4()
    orders.send(orders.authorization(order_id, method))
    payment_id = payment_of(orders)
    orders.send(*(message(order_id) for message in messages))
    assert (staff.get(payment_id)["status"], orders.system.dead_letters) == (status, [])
    reason = "stolen_card" if status == "declined" else "cancelled"
    orders.send(VoidPayment(order_id), CapturePayment(order_id))
    assert orders.replies[-2:] == [PaymentVoided(order_id, payment_id), CaptureRefused(order_id, payment_id, reason)]


def test_voiding_a_declined_payment_changes_nothing(orders, staff):
    order_id = uuid4()
    orders.send(orders.authorization(order_id, "tok_declined_stolen_card"), VoidPayment(order_id))
    assert staff.get(payment_of(orders))["status"] == "declined"
    assert orders.system.dead_letters == []


def test_a_capture_for_an_order_without_a_payment_is_a_dead_letter(orders):
    orders.send(CapturePayment(uuid4()))
    assert [envelope.type for _, envelope, _ in orders.system.dead_letters] == ["payment.capture"]
