"""A refund made by other means: afterwards the order, the ledger and the bank agree."""

from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import pytest

from chassis.base import clock
from chassis.storage import store
from services.orders import commands
from services.payments import providers, reconcile
from tests.saga.conftest import Customer, Platform


def differences(platform: Platform, payment_id: str) -> list[str]:
    until = clock.now() + timedelta(minutes=1)
    with store.active(platform.services["payments"].store):
        found = reconcile.compare(providers.named("sandbox"), until - timedelta(days=1), until)
    return [difference for difference in found.differences if payment_id in difference]


def test_after_a_settlement_order_ledger_and_bank_agree(
    platform: Platform, customer: Callable[[], Customer], capsys: pytest.CaptureFixture[str]
) -> None:
    leila, kettle = customer(), platform.product()
    order_id = leila.order((kettle, 2), payment_method="tok_refund_refused")
    platform.system.drain()
    platform.call("orders", "DELETE", f"/orders/{order_id}", leila.headers)
    platform.system.drain()
    [payment] = leila.payments()
    assert (leila.get(order_id)["status"], payment["refunded_amount"]) == ("cancelled", "0.00")
    commands.main(["sagas", "settle", order_id])
    platform.system.drain()
    order, [payment] = leila.get(order_id), leila.payments()
    assert (order["status"], order["refunded_amount"]) == ("refunded", "25.00")
    assert (payment["status"], payment["refunded_amount"]) == ("refunded", "25.00")
    assert differences(platform, payment["id"]) == []
    again = platform.request(
        "payments", "POST", "/payments/refund", platform.bearer(uuid4(), "staff"), {"payment_id": payment["id"]}
    )
    assert again.status_code == 409
    assert platform.system.dead_letters == []
