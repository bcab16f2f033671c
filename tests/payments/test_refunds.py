"""Money goes back as orders ask for it: in parts, once each, never more than was taken, whatever races whatever."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest

from contracts.payments import CapturePayment, PaymentRefunded, PaymentVoided, RefundPayment, RefundRefused, VoidPayment
from contracts.reasons import Note, Reason
from services.payments.providers import ProviderUnavailable
from tests.payments import books


@pytest.fixture
def paid(orders):
    """A captured payment of 12.50 EUR; gives its order's id."""

    def pay(method="tok_success"):
        order_id = uuid4()
        orders.say(orders.wants(order_id, method), CapturePayment(order_id))
        return order_id

    return pay


def refund(order_id, amount=1250, refund_id=None, currency="EUR", note=None):
    return RefundPayment(order_id, refund_id or uuid4(), amount, currency, Reason.REFUNDED_BY_SHOP, note)


def refunded_at(bank, orders):
    return [charge["amount_refunded"] for charge in bank.charges(orders.payment_ids[0])]


@pytest.mark.parametrize("parts", [[1250], [1000, 250], [1, 1, 1248]])
def test_refunds_add_up_to_a_refunded_payment(orders, paid, bank, staff, payments, parts):
    order_id = paid()
    wishes = [refund(order_id, amount) for amount in parts]
    orders.say(*wishes)
    payment_id = orders.heard[0].payment_id
    made = [PaymentRefunded(order_id, payment_id, wish.refund_id, wish.amount, "EUR") for wish in wishes]
    assert orders.heard[2:] == made
    assert (refunded_at(bank, orders), staff.sees(payment_id)["status"]) == ([1250], "refunded")
    assert (books.contradictions(payments), books.kept(payments)) == ([], 0)


def test_a_refund_that_is_asked_for_again_is_one_and_has_the_same_answer(orders, paid, bank):
    wish = refund(paid(), 700)
    orders.post(wish)
    orders.post(wish)
    orders.say(wish, wish)
    assert {str(answer) for answer in orders.heard[2:]} == {str(orders.heard[2])}
    assert orders.heard_types[2:] == ["payment.refunded"] * 3 or orders.heard_types[2:] == ["payment.refunded"] * 2
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
def test_a_refund_that_cannot_be_is_refused_with_its_reason(orders, paid, bank, changes, reason):
    wish = refund(paid(), **changes)
    orders.say(wish, wish)
    assert orders.heard[2:] == [RefundRefused(wish.order_id, wish.refund_id, reason)] * 2
    assert (refunded_at(bank, orders), orders.system.dead_letters) == ([0], [])


def test_a_refund_for_an_order_that_never_paid_is_refused(orders):
    wish = refund(uuid4())
    orders.say(wish)
    assert orders.heard == [RefundRefused(wish.order_id, wish.refund_id, Reason.NOT_CAPTURED)]


def test_one_refund_id_is_not_for_two_orders(orders, paid):
    one = refund(paid(), 100)
    other = refund(paid(), 100, refund_id=one.refund_id)
    orders.say(one, other)
    assert orders.heard[-1] == RefundRefused(other.order_id, one.refund_id, Reason.REFUND_ID_IN_USE)


def test_refunds_at_the_same_time_never_give_back_more_than_was_taken(orders, paid, bank, payments):
    order_id = paid()
    wishes = [refund(order_id, 500) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(orders.post, wishes))
    orders.system.drain()
    replies = orders.heard_types[2:]
    assert (replies.count("payment.refunded"), replies.count("payment.refund_refused")) == (2, 4)
    assert (refunded_at(bank, orders), books.kept(payments), books.contradictions(payments)) == ([1000], 250, [])


def test_two_voids_and_two_refunds_at_the_same_time_have_one_outcome_and_leave_nothing(orders, paid, bank, payments):
    order_id = paid()
    wishes = [refund(order_id), refund(order_id), VoidPayment(order_id), VoidPayment(order_id)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(orders.post, wishes))
    orders.system.drain()
    assert PaymentVoided(order_id, orders.heard[0].payment_id) in orders.heard
    assert orders.heard_types.count("payment.refunded") <= 1
    assert (refunded_at(bank, orders), books.kept(payments), books.contradictions(payments)) == ([1250], 0, [])


def test_five_tasks_that_make_one_refund_at_once_give_back_once(orders, paid, bank, payments):
    orders.post(refund(paid(), 500))
    with payments.store.source.unsent() as batch:
        task = batch.unsent[0]
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda _: orders.system.deliver(payments, task), range(5)))
    orders.system.drain()
    assert (orders.heard_types[2:], refunded_at(bank, orders)) == (["payment.refunded"], [500])


def test_a_refund_before_its_capture_waits_for_it(orders, bank):
    order_id = uuid4()
    orders.say(orders.wants(order_id), refund(order_id, 300))
    assert orders.heard_types == ["payment.authorized"]
    orders.say(CapturePayment(order_id))
    assert orders.heard_types == ["payment.authorized", "payment.captured", "payment.refunded"]
    assert refunded_at(bank, orders) == [300]


def test_a_refund_that_waits_for_a_capture_is_refused_when_the_payment_is_called_off(orders, bank):
    order_id, wish = uuid4(), None
    wish = refund(order_id, 300)
    orders.say(orders.wants(order_id), wish, VoidPayment(order_id))
    assert RefundRefused(order_id, wish.refund_id, Reason.NOT_CAPTURED) in orders.heard
    assert [charge["status"] for charge in bank.charges(orders.payment_ids[0])] == ["voided"]


def test_what_is_left_after_a_refund_goes_back_when_the_payment_is_called_off(orders, paid, bank, payments):
    order_id = paid()
    orders.say(refund(order_id, 300), VoidPayment(order_id), VoidPayment(order_id))
    assert orders.heard_types[2:] == ["payment.refunded", "payment.voided", "payment.voided"]
    assert (refunded_at(bank, orders), books.kept(payments)) == ([1250], 0)


def test_a_refund_that_the_bank_refuses_is_refused_and_the_money_may_be_asked_for_again(orders, paid, staff, payments):
    order_id = paid("tok_refund_refused")
    first, second = refund(order_id), refund(order_id)
    orders.say(first, second)
    assert orders.heard[2:] == [
        RefundRefused(order_id, wish.refund_id, Reason.REFUSED_BY_PROVIDER) for wish in (first, second)
    ]
    assert staff.sees(orders.heard[0].payment_id)["status"] == "captured"
    assert (books.kept(payments), books.contradictions(payments)) == (1250, [])


def test_a_refund_that_met_no_bank_is_made_once_the_bank_is_back(orders, paid, bank, sweep, settings, payments):
    wish = refund(paid(), 1250)
    with settings(sandbox_url="http://127.0.0.1:1"), pytest.raises(ProviderUnavailable):
        orders.say(wish)
    assert (books.kept(payments), sweep(0), sweep(120)) == (1250, 0, 1)
    orders.system.drain()
    assert (orders.heard_types[-1], refunded_at(bank, orders)) == ("payment.refunded", [1250])
    assert sweep(86_400) == 0


def test_a_refund_whose_answer_is_lost_each_time_is_found_and_not_made_again(orders, bank):
    order_id = uuid4()
    with pytest.raises(ProviderUnavailable):
        orders.say(orders.wants(order_id, "tok_lost_response"))
    orders.say(CapturePayment(order_id))
    with pytest.raises(ProviderUnavailable):
        orders.say(refund(order_id, 400))
    assert refunded_at(bank, orders) == [400]
    orders.payments.celery.run("payments.refund", UUID(orders.payment_ids[-1]))
    orders.system.drain()
    assert (orders.heard_types[-1], refunded_at(bank, orders)) == ("payment.refunded", [400])


def test_a_card_number_in_a_note_is_not_kept(orders, paid, payments):
    orders.say(refund(paid(), 10, note=Note("He says 4111 1111 1111 1111 was charged.")))
    with payments.store.engine.connect() as connection:
        (note,) = connection.exec_driver_sql("SELECT note FROM refunds").one()
    assert note == {"text": "He says [card number] was charged.", "audience": "staff"}
