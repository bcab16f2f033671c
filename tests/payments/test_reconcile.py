"""Reconciliation with the bank: every difference is listed, nothing is repaired, recent movements are left for later."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text

from chassis.base import clock
from chassis.storage import store
from contracts.payments import CapturePayment, RefundPayment, VoidPayment
from contracts.reasons import Reason
from devservers.bank import create_app
from services.payments import providers, reconcile, sweeper
from tests.payments.conftest import Bank


@pytest.fixture
def bank(serve):
    """A bank for each test, since all its charges are compared."""
    return Bank(serve(create_app(None, "sandbox-key")))


@pytest.fixture
def orders(orders, bank, settings):
    with settings(sandbox_url=bank.address):
        yield orders


def paid(orders, method="tok_success", capture=True):
    order_id = uuid4()
    orders.send(orders.authorization(order_id, method), *([CapturePayment(order_id)] if capture else []))
    return orders.replies[-1].payment_id, order_id


def compared(payments, minutes=-1):
    """As of so many minutes ago; by default a minute ahead, when nothing is recent."""
    until = clock.now() - timedelta(minutes=minutes)
    with store.active(payments.store):
        return reconcile.compare(providers.named("sandbox"), until - timedelta(days=1), until)


def test_matching_ledgers_have_no_differences(orders, payments):
    _, refunded = paid(orders)
    orders.send(RefundPayment(refunded, uuid4(), 250, "EUR", Reason.REFUNDED_BY_SHOP))
    _, voided = paid(orders, capture=False)
    orders.send(VoidPayment(voided))
    paid(orders, capture=False)
    paid(orders, "tok_declined_lost_card")
    orders.send(VoidPayment(uuid4()))
    found = compared(payments)
    assert (found.differences, found.charges, found.payments) == ([], 4, 5)
    recent = compared(payments, minutes=1)
    assert (recent.differences, recent.charges, recent.payments) == ([], 4, 5)


def test_every_kind_of_difference_is_listed_and_not_repaired(orders, payments, bank):
    at_bank, _ = paid(orders)
    (charge,) = bank.charges(at_bank)
    bank.do(f"/{charge['id']}/refunds", amount=250)
    held, _ = paid(orders, capture=False)
    bank.do(f"/{bank.charges(held)[0]['id']}/void")
    twice, _ = paid(orders)
    terms = {"amount": 1250, "currency": "EUR", "source": "tok_success", "capture": True}
    bank.do("", reference=str(twice), **terms)
    bank.do("", reference="another merchant", **terms)
    lost, _ = paid(orders)
    with payments.store.engine.begin() as connection:
        elsewhere = {"id": uuid4(), "old": lost}
        connection.execute(text("ALTER TABLE ledger DISABLE TRIGGER append_only"))
        connection.execute(
            text(
                "INSERT INTO payments (id, amount, currency, payment_method, status, goal, provider, captures_at_once)"
                " SELECT :id, amount, currency, payment_method, status, goal, provider, captures_at_once"
                " FROM payments WHERE id = :old"
            ),
            elsewhere,
        )
        connection.execute(text("UPDATE ledger SET payment_id = :id WHERE payment_id = :old"), elsewhere)
        connection.execute(text("ALTER TABLE ledger ENABLE TRIGGER append_only"))
    listed = sorted(compared(payments).differences)
    undisputed = "disputed 0, charged back 0"
    nothing = f"held 0, captured 0, refunded 0, {undisputed}"
    authorized = f"held 1250, captured 0, refunded 0, {undisputed}"
    captured = f"held 0, captured 1250, refunded 0, {undisputed}"
    (charge_of_lost,) = bank.charges(lost)
    again = bank.charges(twice)[1]["id"]
    assert listed == sorted(
        [
            f"payment {at_bank}: {captured} EUR here, held 0, captured 1250, refunded 250, {undisputed} EUR there ({charge['id']})",
            f"payment {held}: {authorized} EUR here, {nothing} EUR there ({bank.charges(held)[0]['id']})",
            f"payment {twice}: charged again there, as {again}: {captured}",
            f"payment {lost}: {nothing} EUR here, {captured} EUR there ({charge_of_lost['id']})",
            f"payment {elsewhere['id']}: {captured} here, no charge there",
            *[line for line in listed if line.endswith(f"{captured} there, no payment here")],
        ]
    )
    assert [line for line in listed if "no payment here" in line] != []
    assert sorted(compared(payments).differences) == listed


def test_the_same_amounts_in_another_currency_differ(orders, payments, bank):
    payment_id, _ = paid(orders)
    with payments.store.engine.begin() as connection:
        connection.execute(text("UPDATE payments SET currency = 'USD'"))
    amounts, charge = "held 0, captured 1250, refunded 0, disputed 0, charged back 0", bank.charges(payment_id)[0]["id"]
    expected = f"payment {payment_id}: {amounts} USD here, {amounts} EUR there ({charge})"
    assert compared(payments).differences == [expected]


@pytest.mark.parametrize(
    ("actions", "there"),
    [
        (["dispute"], "refunded 0, disputed 1250, charged back 0"),
        (["dispute", "lose"], "refunded 0, disputed 0, charged back 1250"),
    ],
)
def test_disputed_money_is_compared(orders, payments, bank, actions, there):
    payment_id, _ = paid(orders)
    for action in actions:
        bank.dashboard(payment_id, action)
    (difference,) = compared(payments).differences
    assert f"{there} EUR there" in difference


@pytest.mark.parametrize("recent", ["payments SET updated_at", "ledger SET occurred_at"])
def test_recent_movements_are_left_for_the_next_run(orders, payments, bank, recent):
    """A partial refund changes the ledger only."""
    payment_id, _ = paid(orders)
    bank.do(f"/{bank.charges(payment_id)[0]['id']}/refunds", amount=250)
    an_hour_ago(payments)
    assert len(compared(payments, minutes=15).differences) == 1
    move_in_time(payments, recent, "now()")
    assert compared(payments, minutes=15).differences == []
    assert len(compared(payments).differences) == 1


def test_another_payments_recent_movement_hides_no_difference(orders, payments, bank):
    _, payment_id, _ = sorted(paid(orders)[0] for _ in range(3))
    bank.do(f"/{bank.charges(payment_id)[0]['id']}/refunds", amount=250)
    an_hour_ago(payments)
    move_in_time(
        payments, "ledger SET occurred_at", f"CASE WHEN payment_id = '{payment_id}' THEN occurred_at ELSE now() END"
    )
    assert len(compared(payments, minutes=15).differences) == 1


def an_hour_ago(payments):
    for table in ("payments SET updated_at", "ledger SET occurred_at"):
        move_in_time(payments, table, "now() - interval '1 hour'")


def move_in_time(payments, assigned, moment):
    with payments.store.engine.begin() as connection:
        connection.execute(text("ALTER TABLE ledger DISABLE TRIGGER append_only"))
        connection.execute(text(f"UPDATE {assigned} = {moment}"))
        connection.execute(text("ALTER TABLE ledger ENABLE TRIGGER append_only"))


def test_it_runs_once_a_day_and_records_its_result(orders, payments, bank, sweep):
    payment_id, _ = paid(orders)
    bank.do(f"/{bank.charges(payment_id)[0]['id']}/refunds", amount=250)
    an_hour_ago(payments)
    for _ in range(2):
        with store.active(payments.store), payments.store.transaction():
            sweeper.reconcile_daily()
    orders.system.drain()
    with payments.store.engine.connect() as connection:
        ((provider, finished_at, differences),) = connection.execute(
            text("SELECT provider, finished_at, differences FROM reconciliations")
        )
    assert (provider, finished_at is not None, len(differences)) == ("sandbox", True, 1)


@pytest.mark.parametrize(("breaks", "code"), [("nothing", 0), ("books", 1), ("bank", 2)])
def test_the_exit_code_of_the_command(orders, payments, bank, breaks, code):
    payment_id, _ = paid(orders)
    if breaks == "books":
        bank.do(f"/{bank.charges(payment_id)[0]['id']}/refunds", amount=250)
    environment = {
        "SOUK_DATABASE_URL": payments.settings.database_url,
        "SOUK_SANDBOX_URL": "http://127.0.0.1:1" if breaks == "bank" else bank.address,
        "SOUK_SANDBOX_KEY": "sandbox-key",
        "SOUK_CURRENCIES": json.dumps(["EUR"]),
    }
    command = [sys.executable, "-m", "services.payments.commands", "reconcile", "--minutes", "0"]
    ended = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == code, ended.stderr
    assert (str(payment_id) in ended.stdout) == (breaks == "books")
