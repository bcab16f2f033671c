"""Money that the bank moves without us is booked as an external movement, and the order is told."""

import threading
from datetime import timedelta
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from sqlalchemy import text
from werkzeug.wsgi import get_input_stream

from chassis.base import clock
from chassis.run.testing import System
from chassis.storage import store
from contracts.orders import OrderSettledExternally
from contracts.payments import (
    CapturePayment,
    PaymentCaptured,
    PaymentMovedExternally,
    PaymentVoided,
    RefundPayment,
    RefundRefused,
    VoidPayment,
)
from contracts.reasons import Reason
from devservers import bank as bank_app
from devservers.bank.webhooks import Endpoint
from services.payments import providers, reconcile, sweeper
from tests.conftest import app_of
from tests.installation import until
from tests.payments import books
from tests.payments.conftest import Bank, Orders

SECRET = "webhook-secret"


@pytest.fixture(scope="module")
def notifying_bank(_payments, serve):
    """A bank that sends its webhooks to the payments service, over HTTP both ways."""
    app, stopping = app_of(_payments), threading.Event()

    def bounded(environ, start_response):
        # Unlike ours, Werkzeug's server lets an application read past the body and block.
        environ["wsgi.input"] = get_input_stream(environ)
        return app(environ, start_response)

    endpoint = Endpoint(serve(bounded) + "/payments/webhooks/sandbox", SECRET)
    yield Bank(serve(bank_app.create_app(None, "sandbox-key", stopping, webhooks=endpoint)))
    stopping.set()


@pytest.fixture
def bank(settings, notifying_bank):
    with settings(sandbox_url=notifying_bank.address, sandbox_webhook_secret=SECRET):
        yield notifying_bank


class Paid:
    """A payment of 12.50 EUR for an order, and what the bank does to it."""

    def __init__(self, orders, bank, capture=True):
        self.orders, self.bank, self.order_id = orders, bank, uuid4()
        orders.send(orders.authorization(self.order_id), *([CapturePayment(self.order_id)] if capture else []))
        self.id = orders.replies[-1].payment_id

    def happens(self, action, amount=""):
        """At the bank; returns once its webhook is processed."""
        before = self._received()
        self.bank.dashboard(self.id, action, amount)
        until(lambda: self._received() > before)
        self.orders.system.drain()

    def _received(self):
        with self.orders.payments.store.engine.connect() as connection:
            return connection.scalar(text("SELECT count(*) FROM webhooks WHERE payment_id = :id"), {"id": self.id})

    @property
    def moved(self):
        """Refunded, charged back and disputed, as the order was told last."""
        told = [reply for reply in self.orders.replies if isinstance(reply, PaymentMovedExternally)]
        return (told[-1].refunded, told[-1].charged_back, told[-1].disputed) if told else None


@pytest.fixture
def paid(orders, bank):
    return Paid(orders, bank)


def moves(payments):
    with payments.store.engine.connect() as connection:
        rows = connection.execute(text("SELECT move, amount FROM ledger ORDER BY position"))
        return [tuple(row) for row in rows][2:]


def test_a_refund_in_the_banks_dashboard_is_booked_and_the_order_told(paid, payments, staff):
    paid.happens("refund", 250)
    assert (paid.moved, staff.get(paid.id)["refunded_amount"]) == ((250, 0, 0), "2.50")
    paid.happens("refund")
    assert moves(payments) == [("external_refund", 250), ("external_refund", 1000)]
    assert (paid.moved, staff.get(paid.id)["status"]) == ((1250, 0, 0), "refunded")
    assert (books.contradictions(payments), books.kept(payments)) == ([], 0)


@pytest.mark.parametrize(
    ("verdict", "moved", "last", "status"),
    [("win", (0, 0, 0), "dispute_won", "captured"), ("lose", (0, 1250, 0), "dispute_lost", "refunded")],
)
def test_a_dispute_withholds_the_money_until_it_is_decided(paid, payments, orders, staff, verdict, moved, last, status):
    paid.happens("dispute")
    assert (paid.moved, staff.get(paid.id)["disputed_amount"]) == ((0, 0, 1250), "12.50")
    orders.send(RefundPayment(paid.order_id, uuid4(), 1, "EUR", Reason.REFUNDED_BY_SHOP))
    assert orders.replies[-1].reason == Reason.EXCEEDS_CAPTURED
    paid.happens(verdict)
    assert moves(payments) == [("disputed", 1250), (last, 1250)]
    assert (paid.moved, staff.get(paid.id)["status"]) == (moved, status)
    assert books.contradictions(payments) == []


def test_what_is_left_after_a_lost_dispute_and_a_refund_can_be_refunded(paid, payments):
    paid.happens("dispute", 300)
    paid.happens("lose")
    refund(paid, 100)
    refund(paid, 851)
    assert paid.orders.replies[-1].reason == Reason.EXCEEDS_CAPTURED
    refund(paid, 850)
    assert (books.contradictions(payments), books.kept(payments)) == ([], 0)


def refund(paid, amount):
    """By us, for the order."""
    paid.orders.send(RefundPayment(paid.order_id, uuid4(), amount, "EUR", Reason.REFUNDED_BY_SHOP))


def refunds(payments):
    with payments.store.engine.connect() as connection:
        return list(connection.execute(text("SELECT status, refusal_reason FROM refunds ORDER BY created_at")))


@pytest.mark.parametrize("whose", ["ours", "external"])
def test_a_refund_that_the_bank_returns_is_booked_and_the_order_told(paid, payments, orders, staff, whose):
    if whose == "ours":
        refund(paid, 1250)
    else:
        paid.happens("refund")
    assert staff.get(paid.id)["status"] == "refunded"
    paid.happens("return")
    seen = staff.get(paid.id)
    assert (seen["status"], seen["refunded_amount"]) == ("captured", "0.00")
    assert paid.moved == ((-1250, 0, 0) if whose == "ours" else (0, 0, 0))
    assert (books.contradictions(payments), books.kept(payments)) == ([], 1250)
    assert refunds(payments) == ([("returned", "refund_refused")] if whose == "ours" else [])
    refund(paid, 1250)
    assert (staff.get(paid.id)["status"], books.kept(payments)) == ("refunded", 0)


def test_only_the_refund_that_came_back_is_taken_back(paid, payments, staff):
    refund(paid, 200)
    refund(paid, 300)
    paid.happens("return")
    assert [status for status, _ in refunds(payments)] == ["refunded", "returned"]
    assert (paid.moved, staff.get(paid.id)["refunded_amount"]) == ((-300, 0, 0), "2.00")
    paid.happens("return")
    assert (paid.moved, staff.get(paid.id)["refunded_amount"]) == ((-500, 0, 0), "0.00")
    assert books.contradictions(payments) == []


def test_a_chargeback_that_is_reversed_is_booked(paid, payments, staff):
    for action in ("dispute", "lose", "reverse"):
        paid.happens(action)
    assert (paid.moved, staff.get(paid.id)["status"]) == ((0, 0, 0), "captured")
    assert (books.contradictions(payments), books.kept(payments)) == ([], 1250)


def test_the_refund_of_a_voided_payment_is_made_again_when_the_bank_returns_it(paid, payments, orders, staff):
    orders.send(VoidPayment(paid.order_id))
    paid.happens("return")
    assert [status for status, _ in refunds(payments)] == ["returned", "refunded"]
    assert (staff.get(paid.id)["status"], books.contradictions(payments)) == ("refunded", [])
    assert paid.moved == (0, 0, 0)


def settle(paid, amount):
    paid.orders.send(OrderSettledExternally(paid.order_id, amount, "EUR", "an operator"))


def test_what_staff_returned_by_other_means_cannot_be_refunded_again(paid, payments, orders, staff):
    settle(paid, 1250)
    seen = staff.get(paid.id)
    assert (seen["status"], seen["refunded_amount"]) == ("refunded", "12.50")
    refund(paid, 1)
    assert orders.replies[-1].reason == Reason.EXCEEDS_CAPTURED
    assert books.contradictions(payments) == []


def test_a_settlement_that_the_bank_shows_later_is_counted_once(paid, payments, staff):
    settle(paid, 800)
    paid.happens("refund", 800)
    assert (paid.moved, staff.get(paid.id)["refunded_amount"]) == ((800, 0, 0), "8.00")
    paid.happens("refund")
    assert (paid.moved, staff.get(paid.id)["status"]) == ((1250, 0, 0), "refunded")
    assert (books.contradictions(payments), books.kept(payments)) == ([], 0)


def test_a_settlement_counts_no_more_than_is_left(paid, payments, staff):
    paid.happens("refund", 500)
    settle(paid, 1250)
    assert [move for move in moves(payments) if move[0] == "settled"] == [("settled", 750)]
    assert staff.get(paid.id)["refunded_amount"] == "12.50"


def test_open_disputes_are_counted(paid, payments):
    def counted():
        with store.active(payments.store), payments.store.transaction():
            sweeper.sweep()
        return REGISTRY.get_sample_value("souk_payments_disputed")

    paid.happens("dispute", 300)
    assert counted() == 1
    paid.happens("win")
    assert counted() == 0


def test_a_warning_of_fraud_is_counted(paid):
    before = REGISTRY.get_sample_value("souk_payments_fraud_warnings_total")
    paid.happens("fraud")
    assert REGISTRY.get_sample_value("souk_payments_fraud_warnings_total") == before + 1
    assert paid.moved is None


@pytest.mark.parametrize("learns_by", ["webhook", "our capture"])
def test_a_part_capture_is_booked_as_what_was_captured(orders, bank, payments, staff, learns_by):
    paid = Paid(orders, bank, capture=False)
    if learns_by == "webhook":
        paid.happens("capture", 400)
    else:
        bank.do(f"/{bank.charges(paid.id)[0]['id']}/capture", amount=400)
    orders.send(CapturePayment(paid.order_id))
    assert orders.replies[-1] == PaymentCaptured(paid.order_id, paid.id, 400, "EUR")
    assert staff.get(paid.id)["captured_amount"] == "4.00"
    assert (books.contradictions(payments), books.kept(payments)) == ([], 400)
    orders.send(VoidPayment(paid.order_id))
    assert (staff.get(paid.id)["status"], books.kept(payments)) == ("refunded", 0)


def test_a_capture_and_a_refund_that_one_lookup_shows_are_both_booked(orders, bank_address, payments):
    bank = Bank(bank_address)
    paid = Paid(orders, bank, capture=False)
    bank.dashboard(paid.id, "capture")
    bank.dashboard(paid.id, "refund", 250)
    look(payments, paid.id)
    orders.system.drain()
    assert (moves(payments), paid.moved) == ([("external_refund", 250)], (250, 0, 0))


def test_a_refund_that_the_bank_refuses_because_the_money_is_gone_books_that(paid, orders, payments, staff):
    """Also without a webhook."""
    (charge,) = paid.bank.charges(paid.id)
    paid.bank.do(f"/{charge['id']}/refunds", amount=1250)
    refund_id = uuid4()
    orders.send(RefundPayment(paid.order_id, refund_id, 1250, "EUR", Reason.REFUNDED_BY_SHOP))
    moved, refused = orders.replies[-2:]
    assert (moved.refunded, type(refused)) == (1250, RefundRefused)
    assert (staff.get(paid.id)["status"], books.kept(payments)) == ("refunded", 0)
    assert books.contradictions(payments) == []


def test_a_lookup_while_a_refund_waits_finds_nothing_new(paid, orders, payments):
    orders.deliver(RefundPayment(paid.order_id, uuid4(), 400, "EUR", Reason.REFUNDED_BY_SHOP))
    payments.celery.run("payments.look_up", paid.id)
    orders.system.drain()
    assert moves(payments) == [("refund_asked", 400), ("refunded", 400)]


@pytest.mark.parametrize("first", ["void", "refund"])
def test_a_voided_payment_refunded_at_the_bank_costs_nothing_once(paid, orders, bank, payments, first):
    if first == "void":
        orders.send(VoidPayment(paid.order_id))
    else:
        (charge,) = bank.charges(paid.id)
        bank.do(f"/{charge['id']}/refunds", amount=1250)
        orders.send(VoidPayment(paid.order_id))
    assert orders.replies[-1] == PaymentVoided(paid.order_id, paid.id)
    assert (books.contradictions(payments), books.kept(payments)) == ([], 0)
    assert bank.charges(paid.id)[0]["amount_refunded"] == 1250


def test_a_lost_webhook_is_made_up_for_by_the_daily_reconciliation(paid, orders, bank, payments):
    (charge,) = bank.charges(paid.id)
    bank.do(f"/{charge['id']}/refunds", amount=250)
    with payments.store.engine.begin() as connection:
        connection.execute(text("UPDATE payments SET updated_at = now() - interval '1 hour'"))
        connection.execute(text("ALTER TABLE ledger DISABLE TRIGGER append_only"))
        connection.execute(text("UPDATE ledger SET occurred_at = now() - interval '1 hour'"))
        connection.execute(text("ALTER TABLE ledger ENABLE TRIGGER append_only"))
    with store.active(payments.store), payments.store.transaction():
        sweeper.reconcile_daily()
    orders.system.drain()
    assert (paid.moved, moves(payments)) == ((250, 0, 0), [("external_refund", 250)])


ACTS = ["refund 300", "refund", "return", "dispute 200", "dispute", "win", "lose", "reverse"]
COMMANDS = st.lists(
    st.sampled_from([*(f"bank {act}" for act in ACTS), "ours 300", "ours 950", "settle 400", "void", "look"]),
    max_size=10,
)


@settings_of_hypothesis(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(commands=COMMANDS)
def test_whatever_happens_at_the_bank_in_any_order_ledger_and_bank_agree(payments, bank_address, commands):
    orders, bank = Orders(payments, System([payments])), Bank(bank_address)
    paid = Paid(orders, bank)
    (charge,) = bank.charges(paid.id)
    has_settled = False
    for command in commands:
        who, *act = command.split()
        if who == "bank" and not (has_settled and act[0] == "dispute"):  # that is left to people
            bank.dashboard(paid.id, *act, is_possible=False)
        elif who == "ours":
            refund(paid, int(act[0]))
        elif who == "settle":
            disputed = bank.charges(paid.id)[0]["amount_disputed"]
            has_settled = has_settled or not disputed
            if not disputed:
                settle(paid, int(act[0]))
        elif who == "void":
            orders.send(VoidPayment(paid.order_id))
        else:
            look(payments, paid.id)
            orders.system.drain()
    for _ in range(2):
        look(payments, paid.id)
        orders.system.drain()
    assert books.contradictions(payments) == []
    until_ = clock.now() + timedelta(minutes=1)
    with store.active(payments.store):
        found = reconcile.compare(providers.named("sandbox"), until_ - timedelta(days=1), until_)
    assert [each for each in found.differences if charge["id"] in each] == []


def look(payments, payment_id):
    payments.celery.run("payments.look_up", payment_id)
