"""The ledger always balances, because nothing else can be written, and agrees with the status of every payment."""

from datetime import timedelta
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from chassis.base import clock
from chassis.run.testing import System
from chassis.storage import store
from contracts.payments import CapturePayment, RefundPayment, VoidPayment
from contracts.reasons import Reason
from services.payments import sweeper
from services.payments.models import ledger
from services.payments.models.ledger import MOVES, Move
from services.payments.providers import ProviderUnavailable
from tests.conftest import empty
from tests.payments import books
from tests.payments.conftest import Orders

INSERT = """
INSERT INTO ledger (payment_id, refund_id, move, source, target, amount, currency, occurred_at)
SELECT payment_id, CAST(:refund_id AS uuid), :move, :source, :target, :amount, :currency, now() FROM ledger LIMIT 1
"""


@pytest.fixture
def authorized(orders):
    orders.send(orders.authorization(uuid4()))


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ({"source": "customer"}, "ledger_moves"),
        ({"target": "customer"}, "ledger_moves"),
        ({"target": "elsewhere"}, "ledger_moves"),
        ({"amount": 0}, "ledger_amount_check"),
        ({"amount": -1250}, "ledger_amount_check"),
        ({"amount": 1251}, "ledger_covers"),
        ({"currency": "USD"}, "ledger_covers"),
        ({"move": "refund_asked", "source": "captured", "target": "refunding"}, "ledger_covers"),
        ({"move": "authorized", "source": "customer", "target": "held"}, "ledger_payment_once"),
    ],
)
def test_an_unbalanced_movement_cannot_be_written(payments, authorized, changes, constraint):
    valid = {"refund_id": None, "move": "captured", "source": "held", "target": "captured"}
    values = valid | {"amount": 1250, "currency": "EUR"}
    engine = payments.store.engine
    with pytest.raises(IntegrityError, match=constraint), engine.begin() as connection:
        connection.execute(text(INSERT), values | changes)
    with engine.connect() as connection:
        connection.execute(text(INSERT), values)
        connection.rollback()


@pytest.mark.parametrize("change", ["UPDATE ledger SET amount = amount + 1", "DELETE FROM ledger"])
def test_a_movement_cannot_be_changed_or_deleted(payments, authorized, change):
    with (
        pytest.raises(IntegrityError, match="append-only"),
        payments.store.engine.begin() as connection,
    ):
        connection.execute(text(change))


def test_a_hold_ends_once(payments, orders):
    order_id = uuid4()
    orders.send(orders.authorization(order_id), CapturePayment(order_id))
    payment_id = orders.replies[0].payment_id
    for move in (Move.CAPTURED, Move.RELEASED):
        with (
            pytest.raises(IntegrityError),
            store.active(payments.store),
            payments.store.transaction(),
        ):
            ledger.post(move, payment_id, 1250, "EUR")


def test_every_movement_is_two_entries_that_balance(payments, orders):
    order_id = uuid4()
    orders.send(
        orders.authorization(order_id),
        CapturePayment(order_id),
        RefundPayment(order_id, uuid4(), 250, "EUR", Reason.REFUNDED_BY_SHOP),
    )
    query = (
        "SELECT move, array_agg(account || ' ' || amount ORDER BY amount) FROM ledger_entries GROUP BY move, position"
    )
    with payments.store.engine.connect() as connection:
        entries = {move: list(both) for move, both in connection.execute(text(query))}
    amounts = {"authorized": 1250, "captured": 1250, "refund_asked": 250, "refunded": 250}
    assert entries == {
        move: [f"{MOVES[Move(move)][0]} -{amount}", f"{MOVES[Move(move)][1]} {amount}"]
        for move, amount in amounts.items()
    }


TOKENS = [
    "success",
    "declined_lost_card",
    "error",
    "lost_response",
    "capture_refused",
    "capture_error",
    "refund_refused",
]
ALWAYS_FAIL = ("error", "capture_error")
"""With these the bank never does what is left to do."""

WISHES = st.lists(
    st.sampled_from(["authorize", "capture", "void", "refund 1250", "refund 400", "again 400", "task"]), max_size=9
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(token="lost_response", commands=["authorize", "refund 1250", "task", "capture"])
@example(token="capture_error", commands=["authorize", "capture"])
@example(token="error", commands=["authorize"])
@given(token=st.sampled_from(TOKENS), commands=WISHES)
def test_after_any_commands_in_any_order_the_ledger_agrees_with_every_payment_and_the_bank(
    payments, bank, token, commands
):
    # Or the sweeper finds what the bank failed at in an earlier example.
    empty(payments)
    orders, order_id, again = Orders(payments, System([payments])), uuid4(), uuid4()
    authorize = orders.authorization(order_id, f"tok_{token}")
    for command in commands:
        verb, _, amount = command.partition(" ")
        if verb == "task":
            _work(orders, token)
            continue
        refund_id = again if verb == "again" else uuid4()
        refund = RefundPayment(order_id, refund_id, int(amount or 1), "EUR", Reason.REFUNDED_BY_SHOP)
        others = {"authorize": authorize, "capture": CapturePayment(order_id), "void": VoidPayment(order_id)}
        orders.deliver(others.get(verb, refund))
    _work(orders, token)
    assert books.contradictions(payments) == []
    with payments.store.engine.connect() as connection:
        payment = connection.execute(text("SELECT id FROM payments WHERE order_id = :id"), {"id": order_id}).first()
        rows = connection.execute(text(books.BY_BOOKS)).all()
    if payment is None:
        return
    (row,) = [row for row in rows if row.id == payment.id]
    charges = bank.charges(payment.id)
    assert len(charges) <= 1
    if row.status not in ("pending", "authorized"):  # the bank may be ahead, if its response was lost
        at_bank = sum(charge["amount_captured"] - charge["amount_refunded"] for charge in charges)
        assert at_bank in (row.ours, row.paid)


def _work(orders, token):
    """Do everything that the bank does not fail at, and what the sweeper then finds."""
    for _ in range(2 if token in ALWAYS_FAIL else 20):
        try:
            orders.system.drain()
            return
        except ProviderUnavailable:
            with store.active(orders.payments.store), orders.payments.store.transaction():
                sweeper.sweep(clock.now() + timedelta(hours=1))
    assert token in ALWAYS_FAIL, "still failing"
