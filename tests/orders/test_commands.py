"""What an operator sees of stuck orders, and does about them, in the environment of the service."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient

from chassis.run.service import Service
from chassis.run.testing import System
from contracts.payments import RefundRefused
from contracts.reasons import Reason
from contracts.stock import StockReserved
from services.orders import commands
from tests.orders.conftest import Hear, confirming, fulfilling, order_id, said

Operator = Callable[..., list[str]]


@pytest.fixture
def operator(orders: Service, capsys: pytest.CaptureFixture[str]) -> Operator:
    """Runs the command; gives the lines that it prints."""

    def run(*arguments: object) -> list[str]:
        capsys.readouterr()
        commands.main(["sagas", *(str(argument) for argument in arguments)])
        return capsys.readouterr().out.splitlines()

    return run


@pytest.fixture
def refused(placed: dict[str, Any], hear: Hear, http: FlaskClient, customer: dict[str, str]) -> UUID:
    """A paid order that was cancelled, and whose refund is refused."""
    id_ = order_id(placed)
    hear(*confirming(id_), *fulfilling(id_))
    http.delete(f"/orders/{id_}", headers=customer)
    asked = next(envelope for envelope in hear().sent if envelope.type == "payment.refund")
    hear(RefundRefused(id_, UUID(asked.data["refund_id"]), Reason.REFUND_TO_LOST_CARD))
    return id_


def test_stuck_orders_are_listed_with_their_reason(operator: Operator, refused: UUID) -> None:
    line, count = operator("list")
    assert line.startswith(str(refused))
    assert line.endswith("The bank did not accept the refund: the card was reported lost or stolen.")
    assert count == "1 stuck."


def test_without_any_it_says_so(operator: Operator, placed: dict[str, Any]) -> None:
    assert operator("list") == ["No order is stuck."]


def test_an_order_is_shown_with_its_story_and_what_it_awaits(operator: Operator, refused: UUID) -> None:
    lines = operator("show", refused)
    assert "order.placed" in lines[0]
    assert any(line.startswith("Awaits stock.restock: asked for 1 times") for line in lines)
    assert "25.00 EUR of 25.00 EUR paid, 0.00 EUR refunded" in lines[-1]
    assert "lost or stolen" in lines[-1]


def test_resume_asks_for_what_is_owed(operator: Operator, refused: UUID, orders: Service) -> None:
    assert "Stuck" not in operator("resume", refused)[-1]
    system = System([orders])
    system.drain()
    assert said(system) == ["stock.restock", "payment.refund"]
    assert operator("list") == ["No order is stuck."]


@pytest.mark.parametrize("story", ["pending", "confirmed"])
def test_compensate_cancels_an_order_on_its_way(
    operator: Operator, placed: dict[str, Any], hear: Hear, story: str
) -> None:
    id_ = order_id(placed)
    hear(*(confirming(id_) if story == "confirmed" else [StockReserved(id_)]))
    assert operator("compensate", id_)[-1].startswith("cancelled: ")
    assert said(hear())[0] == "order.cancelled"


def test_compensate_of_a_cancelled_order_asks_again(operator: Operator, refused: UUID, orders: Service) -> None:
    operator("compensate", refused)
    system = System([orders])
    system.drain()
    assert "payment.refund" in said(system)


def test_what_cannot_be_done_is_said_in_a_line(orders: Service, operator: Operator) -> None:
    unknown = uuid4()
    with pytest.raises(SystemExit, match=f"There is no order {unknown}"):
        operator("show", unknown)
