"""Refunds for orders: in parts, once each, and never more than was captured, also under concurrency."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from contracts.payments import CapturePayment, PaymentRefunded, PaymentVoided, RefundPayment, RefundRefused, VoidPayment
from contracts.reasons import Note, Reason
from services.payments.external import Overtaken
from services.payments.providers import ProviderUnavailable
from tests.payments import books
from tests.payments.conftest import Bank


@pytest.fixture
def paid(orders):
    """Pay 12.50 EUR; returns the order's id."""

    def pay(method="tok_success"):
        order_id = uuid4()
        orders.send(orders.authorization(order_id, method), CapturePayment(order_id))
        return order_id

    return pay


def refund(order_id, amount=1250, refund_id=None, currency="EUR", note=None):
    return RefundPayment(order_id, refund_id or uuid4(), amount, currency, Reason.REFUNDED_BY_SHOP, note)


def refunded_at(bank, orders):
    return [charge["amount_refunded"] for charge in bank.charges(orders.payment_ids[0])]


@pytest.mark.parametrize("parts", [[1250], [1000, 250], [1, 1, 1248]])
def test_refunds_add_up_to_a_refunded_payment(orders, paid, bank, staff, payments, parts):
    order_id = paid()
    commands = [refund(order_id, amount) for amount in parts]
    orders.send(*commands)
    payment_id = orders.replies[0].payment_id
    expected = [PaymentRefunded(order_id, payment_id, command.refund_id, command.amount, "EUR") for command in commands]
    assert orders.replies[2:] == expected
    assert (refunded_at(bank, orders), staff.get(payment_id)["status"]) == ([1250], "refunded")
    assert (books.contradictions(payments), books.kept(payments)) == ([], 0)


def test_a_repeated_refund_is_one_and_gets_the_same_reply(orders, paid, bank):
    command = refund(paid(), 700)
    orders.deliver(command)
    orders.deliver(command)
    orders.send(command, command)
    assert {str(reply) for reply in orders.replies[2:]} == {str(orders.replies[2])}
    assert orders.reply_types[2:] == ["payment.refunded"] * 2
    assert refunded_at(bank, orders) == [700]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"amount": 1251}, "exceeds_captured"),
        ({"amount": 0}, "invalid_amount"),
        ({"amount": -1}, "invalid_amount"),
        ({"currency": "USD"}, "invalid_currency"),
    ],
)
def test_an_impossible_refund_is_refused_with_its_reason(orders, paid, bank, changes, reason):
    command = refund(paid(), **changes)
    orders.send(command, command)
    assert orders.replies[2:] == [RefundRefused(command.order_id, command.refund_id, reason)] * 2
    assert (refunded_at(bank, orders), orders.system.dead_letters) == ([0], [])


def test_a_refund_for_an_order_without_a_payment_is_refused(orders):
    command = refund(uuid4())
    orders.send(command)
    assert orders.replies == [RefundRefused(command.order_id, command.refund_id, Reason.NOT_CAPTURED)]


def test_a_refund_id_cannot_be_used_for_two_orders(orders, paid):
    one = refund(paid(), 100)
    other = refund(paid(), 100, refund_id=one.refund_id)
    orders.send(one, other)
    assert orders.replies[-1] == RefundRefused(other.order_id, one.refund_id, Reason.REFUND_ID_IN_USE)


def test_concurrent_refunds_never_exceed_the_capture(orders, paid, bank, payments):
    order_id = paid()
    commands = [refund(order_id, 500) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(orders.deliver, commands))
    orders.system.drain()
    replies = orders.reply_types[2:]
    assert (replies.count("payment.refunded"), replies.count("payment.refund_refused")) == (2, 4)
    assert (refunded_at(bank, orders), books.kept(payments), books.contradictions(payments)) == ([1000], 250, [])


def test_concurrent_voids_and_refunds_return_everything_once(orders, paid, bank, payments):
    order_id = paid()
    commands = [refund(order_id), refund(order_id), VoidPayment(order_id), VoidPayment(order_id)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(orders.deliver, commands))
    orders.system.drain()
    assert PaymentVoided(order_id, orders.replies[0].payment_id) in orders.replies
    assert orders.reply_types.count("payment.refunded") <= 1
    assert (refunded_at(bank, orders), books.kept(payments), books.contradictions(payments)) == ([1250], 0, [])


def test_five_concurrent_tasks_for_a_refund_refund_once(orders, paid, bank, payments):
    orders.deliver(refund(paid(), 500))
    with payments.store.source.unsent() as batch:
        task = batch.unsent[0]
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda _: orders.system.deliver(payments, task), range(5)))
    orders.system.drain()
    assert (orders.reply_types[2:], refunded_at(bank, orders)) == (["payment.refunded"], [500])


def test_a_refund_before_the_capture_waits_for_it(orders, bank):
    order_id = uuid4()
    orders.send(orders.authorization(order_id), refund(order_id, 300))
    assert orders.reply_types == ["payment.authorized"]
    orders.send(CapturePayment(order_id))
    assert orders.reply_types == ["payment.authorized", "payment.captured", "payment.refunded"]
    assert refunded_at(bank, orders) == [300]


def test_a_refund_that_waits_for_a_capture_is_refused_when_the_payment_is_voided(orders, bank):
    order_id = uuid4()
    command = refund(order_id, 300)
    orders.send(orders.authorization(order_id), command, VoidPayment(order_id))
    assert RefundRefused(order_id, command.refund_id, Reason.NOT_CAPTURED) in orders.replies
    assert [charge["status"] for charge in bank.charges(orders.payment_ids[0])] == ["voided"]


def test_a_void_after_a_refund_refunds_the_rest(orders, paid, bank, payments):
    order_id = paid()
    orders.send(refund(order_id, 300), VoidPayment(order_id), VoidPayment(order_id))
    assert orders.reply_types[2:] == ["payment.refunded", "payment.voided", "payment.voided"]
    assert (refunded_at(bank, orders), books.kept(payments)) == ([1250], 0)


def test_a_refund_that_the_bank_refuses_can_be_requested_again(orders, paid, staff, payments):
    order_id = paid("tok_refund_refused")
    first, second = refund(order_id), refund(order_id)
    orders.send(first, second)
    assert orders.replies[2:] == [
        RefundRefused(order_id, command.refund_id, Reason.REFUSED_BY_PROVIDER) for command in (first, second)
    ]
    assert staff.get(orders.replies[0].payment_id)["status"] == "captured"
    assert (books.kept(payments), books.contradictions(payments)) == (1250, [])


def test_a_refusal_does_not_count_while_the_bank_has_the_refund(orders, interposed, settings, payments):
    def refuse(method, path, sent):
        return (422, b"{}") if method == "POST" and path.endswith("/refunds") else sent

    order_id = uuid4()
    interposed.on_response = refuse
    with settings(**interposed.settings):
        orders.send(orders.authorization(order_id), CapturePayment(order_id), refund(order_id, 400))
    assert orders.reply_types[-1] == "payment.refunded"
    assert (books.kept(payments), books.contradictions(payments)) == (850, [])


def test_a_refusal_is_looked_up_again_if_money_moves_meanwhile(orders, interposed, settings, staff, payments):
    """What the first lookup showed is over by then."""
    order_id = uuid4()
    with settings(**interposed.settings):
        orders.send(orders.authorization(order_id), CapturePayment(order_id))
        payment_id = orders.replies[0].payment_id
        bank = Bank(interposed.settings["sandbox_url"])
        bank.dashboard(payment_id, "dispute")

        def is_decided_meanwhile(method, path, sent):
            if path.endswith("/refunds"):
                return (422, b"{}") if method == "POST" else (200, b'{"items": []}')
            interposed.on_response = lambda method, path, sent: sent
            payments.celery.run("payments.look_up", payment_id)
            bank.dashboard(payment_id, "win")
            payments.celery.run("payments.look_up", payment_id)
            return sent

        orders.deliver(refund(order_id, 400))
        interposed.on_response = is_decided_meanwhile
        with pytest.raises(Overtaken):
            orders.system.drain()
    assert (staff.get(payment_id)["disputed_amount"], books.kept(payments)) == ("0.00", 1250)
    assert books.contradictions(payments) == []


def test_a_refund_without_a_bank_is_made_once_the_bank_is_back(orders, paid, bank, sweep, settings, payments):
    command = refund(paid(), 1250)
    with settings(sandbox_url="http://127.0.0.1:1"), pytest.raises(ProviderUnavailable):
        orders.send(command)
    assert (books.kept(payments), sweep(0), sweep(120), sweep(130)) == (1250, 0, 1, 1)
    orders.system.drain()
    assert (orders.reply_types[-1], refunded_at(bank, orders)) == ("payment.refunded", [1250])
    assert sweep(86_400) == 0


def test_a_refund_in_progress_does_not_hold_up_the_sweep(orders, paid, payments, sweep, settings):
    for _ in range(2):
        command = refund(paid())
        with settings(sandbox_url="http://127.0.0.1:1"), pytest.raises(ProviderUnavailable):
            orders.send(command)
    with payments.store.engine.connect() as busy:
        busy.execute(text("SELECT 1 FROM refunds ORDER BY id LIMIT 1 FOR UPDATE"))
        assert sweep(120) == 1
    assert sweep(120) == 2


def test_a_lookup_continues_a_refund_that_waits(orders, paid, settings, payments):
    command = refund(paid(), 400)
    with settings(sandbox_url="http://127.0.0.1:1"), pytest.raises(ProviderUnavailable):
        orders.send(command)
    payments.celery.run("payments.look_up", orders.replies[0].payment_id)
    orders.system.drain()
    assert orders.reply_types[-1] == "payment.refunded"


def test_a_refund_whose_response_is_lost_is_found_and_not_repeated(orders, bank):
    order_id = uuid4()
    with pytest.raises(ProviderUnavailable):
        orders.send(orders.authorization(order_id, "tok_lost_response"))
    orders.send(CapturePayment(order_id))
    with pytest.raises(ProviderUnavailable):
        orders.send(refund(order_id, 400))
    assert refunded_at(bank, orders) == [400]
    orders.payments.celery.run("payments.refund", UUID(orders.payment_ids[-1]))
    orders.system.drain()
    assert (orders.reply_types[-1], refunded_at(bank, orders)) == ("payment.refunded", [400])


def test_a_card_number_in_a_note_is_removed(orders, paid, payments):
    orders.send(refund(paid(), 10, note=Note("He says 4111 1111 1111 1111 was charged.")))
    with payments.store.engine.connect() as connection:
        (note,) = connection.exec_driver_sql("SELECT note FROM refunds").one()
    assert note == {"text": "He says [card number] was charged.", "audience": "staff"}
