"""Money that the bank moves without us is booked as an external movement, and the order is told."""

import threading
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text
from werkzeug.wsgi import get_input_stream

from chassis.storage import store
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
from services.payments import sweeper
from tests.conftest import app_of
from tests.installation import until
from tests.payments import books
from tests.payments.conftest import Bank

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
