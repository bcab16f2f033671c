"""What an operator sees of stuck orders and does about them."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient

from chassis.run.service import Service
from chassis.run.testing import System
from contracts.payments import PaymentMovedExternally, RefundRefused
from contracts.reasons import Reason
from contracts.stock import StockReserved, StockRestocked
from services.orders import commands
from tests.orders.conftest import Deliver, confirming, fulfilling, order_id, published

Operator = Callable[..., list[str]]


@pytest.fixture
def operator(orders: Service, capsys: pytest.CaptureFixture[str]) -> Operator:
    """Run a `sagas` command; returns the lines that it prints."""

    def run(*arguments: object) -> list[str]:
        capsys.readouterr()
        commands.main(["sagas", *(str(argument) for argument in arguments)])
        return capsys.readouterr().out.splitlines()

    return run


@pytest.fixture
def refused(placed: dict[str, Any], deliver: Deliver, http: FlaskClient, customer: dict[str, str]) -> UUID:
    """A paid order that was cancelled and whose refund was refused."""
    id_ = order_id(placed)
    deliver(*confirming(id_), *fulfilling(id_))
    http.delete(f"/orders/{id_}", headers=customer)
    request = next(envelope for envelope in deliver().sent if envelope.type == "payment.refund")
    deliver(RefundRefused(id_, UUID(request.data["refund_id"]), Reason.REFUND_TO_LOST_CARD))
    return id_


def test_stuck_orders_are_listed_with_their_reason(operator: Operator, refused: UUID) -> None:
    line, count = operator("list")
    assert line.startswith(str(refused))
    assert line.endswith("The bank did not accept the refund: the card was reported lost or stolen.")
    assert count == "Stuck orders: 1"


def test_without_stuck_orders_the_list_says_so(operator: Operator, placed: dict[str, Any]) -> None:
    assert operator("list") == ["No order is stuck."]


def test_show_prints_the_events_and_the_replies_awaited(operator: Operator, refused: UUID) -> None:
    lines = operator("show", refused)
    assert "order.placed" in lines[0]
    assert any(line.startswith("Waiting for stock.restock: attempt 1, due ") for line in lines)
    assert "25.00 EUR of 25.00 EUR paid, 0.00 EUR refunded" in lines[-1]
    assert "lost or stolen" in lines[-1]


def test_resume_requests_what_is_owed(operator: Operator, refused: UUID, orders: Service) -> None:
    assert "Stuck" not in operator("resume", refused)[-1]
    system = System([orders])
    system.drain()
    assert published(system) == ["stock.restock", "payment.refund"]
    assert operator("list") == ["No order is stuck."]


@pytest.mark.parametrize("scenario", ["pending", "confirmed"])
def test_compensate_cancels_an_order_in_progress(
    operator: Operator, placed: dict[str, Any], deliver: Deliver, scenario: str
) -> None:
    id_ = order_id(placed)
    deliver(*(confirming(id_) if scenario == "confirmed" else [StockReserved(id_)]))
    assert operator("compensate", id_)[-1].startswith("cancelled: ")
    assert published(deliver())[0] == "order.cancelled"


def test_compensate_of_a_cancelled_order_resumes_it(operator: Operator, refused: UUID, orders: Service) -> None:
    operator("compensate", refused)
    system = System([orders])
    system.drain()
    assert "payment.refund" in published(system)


def test_settle_ends_an_order_that_was_refunded_by_other_means(
    operator: Operator,
    refused: UUID,
    deliver: Deliver,
    http: FlaskClient,
    staff: dict[str, str],
    orders: Service,
) -> None:
    assert operator("settle", refused)[-1].startswith("refunded: 25.00 EUR of 25.00 EUR paid, 25.00 EUR refunded.")
    assert published(deliver(StockRestocked(refused)))[-1] == "order.refunded"
    assert operator("list") == ["No order is stuck."]
    # What was settled is not counted again when the bank reports it.
    for position, reported in ((7, 700), (8, 2500)):
        assert published(deliver(PaymentMovedExternally(refused, uuid4(), "EUR", reported, 0, 0, position))) == []
    assert http.get(f"/orders/{refused}", headers=staff).json["refunded_amount"] == "25.00"
    with pytest.raises(SystemExit, match="This order owes no refund"):
        operator("settle", refused)


def test_an_order_is_not_settled_while_payments_may_still_refund_it(
    operator: Operator, placed: dict[str, Any], deliver: Deliver, http: FlaskClient, customer: dict[str, str]
) -> None:
    id_ = order_id(placed)
    deliver(*confirming(id_), *fulfilling(id_))
    http.delete(f"/orders/{id_}", headers=customer)
    with pytest.raises(SystemExit, match="Payments may still return the money"):
        operator("settle", id_)


def test_an_error_is_one_line(orders: Service, operator: Operator) -> None:
    unknown = uuid4()
    with pytest.raises(SystemExit, match=f"There is no order {unknown}"):
        operator("show", unknown)
