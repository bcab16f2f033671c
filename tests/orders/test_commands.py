"""What an operator sees of stuck orders and does about them."""

import getpass
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient

from chassis.run.service import Service
from chassis.run.testing import System
from contracts.payments import PaymentCaptured, PaymentMovedExternally
from contracts.stock import StockReserved, StockRestocked
from services.orders import commands
from tests.orders.conftest import Deliver, confirming, fresh_key, fulfilling, order_id, published

Operator = Callable[..., list[str]]


@pytest.fixture
def operator(orders: Service, capsys: pytest.CaptureFixture[str]) -> Operator:
    """Run a `sagas` command; returns the lines that it prints."""

    def run(*arguments: object) -> list[str]:
        capsys.readouterr()
        commands.main(["sagas", *(str(argument) for argument in arguments)])
        return capsys.readouterr().out.splitlines()

    return run


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


def test_a_shipped_order_that_was_paid_owes_nothing(
    operator: Operator, placed: dict[str, Any], deliver: Deliver, http: FlaskClient, staff: dict[str, str]
) -> None:
    id_ = order_id(placed)
    deliver(*confirming(id_), *fulfilling(id_))
    http.put(f"/orders/{id_}/status", json={"status": "shipped"}, headers=staff)
    with pytest.raises(SystemExit, match="This order owes no refund"):
        operator("settle", id_)
    assert published(deliver()) == ["order.shipped"]


@pytest.mark.parametrize("is_voided", [False, True])
def test_an_order_is_not_settled_while_payments_may_still_refund_it(
    operator: Operator,
    placed: dict[str, Any],
    deliver: Deliver,
    http: FlaskClient,
    customer: dict[str, str],
    is_voided: bool,
) -> None:
    """A void that comes after the capture refunds it."""
    id_ = order_id(placed)
    deliver(*([StockReserved(id_)] if is_voided else [*confirming(id_), *fulfilling(id_)]))
    http.delete(f"/orders/{id_}", headers=customer)
    if is_voided:
        deliver(PaymentCaptured(id_, uuid4(), 2500, "EUR"))
    with pytest.raises(SystemExit, match="Payments may still return the money"):
        operator("settle", id_)


def trail_of(http: FlaskClient, staff: dict[str, str], id_: UUID) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = http.get(f"/operations/actions?subject={id_}", headers=staff).json["items"]
    return found


def test_what_is_done_at_a_terminal_is_in_the_trail(
    operator: Operator, refused: UUID, http: FlaskClient, staff: dict[str, str]
) -> None:
    operator("settle", refused, "--reason", "Paid by bank transfer")
    operator("show", refused)
    operator("resume", refused)
    resumed, settled = trail_of(http, staff, refused)
    assert (settled["name"], settled["by"], settled["outcome"]) == ("settle order", str(UUID(int=0)), "refunded")
    assert settled["why"] == f"{getpass.getuser()}: Paid by bank transfer"
    assert (resumed["name"], resumed["why"]) == ("resume order", f"{getpass.getuser()}: no reason given")


def test_what_fails_at_a_terminal_leaves_no_trace_of_an_action(
    operator: Operator, placed: dict[str, Any], http: FlaskClient, staff: dict[str, str]
) -> None:
    with pytest.raises(SystemExit):
        operator("settle", order_id(placed))
    assert trail_of(http, staff, order_id(placed)) == []


@pytest.mark.parametrize(("verb", "event"), [("resume", "order.resumed"), ("compensate", "order.cancelled")])
def test_by_the_api_a_repeated_key_acts_once(
    verb: str, event: str, http: FlaskClient, staff: dict[str, str], placed: dict[str, Any], deliver: Deliver
) -> None:
    id_, key = order_id(placed), fresh_key()

    def act(key: dict[str, str]) -> Any:
        body = {"why": "The customer called"}
        return http.post(f"/operations/sagas/{id_}/{verb}", json=body, headers=staff | key)

    def count() -> int:
        shown = http.get(f"/orders/{id_}/events", headers=staff).json["items"]
        return [each["type"] for each in shown].count(event)

    first, again = act(key), act(key)
    assert (first.status_code, again.status_code) == (200, 200)
    assert (again.json, count()) == (first.json, 1)
    assert deliver().sent
    assert act(key).json == first.json
    assert deliver().sent == []
    assert act(fresh_key()).json["id"] != first.json["id"]
    assert len(trail_of(http, staff, id_)) == 2


def test_find_prints_orders_of_an_id_a_customer_and_a_request(
    http: FlaskClient, customer: dict[str, str], placed: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    request = str(uuid4())
    http.delete(f"/orders/{placed['id']}", headers=customer | {"X-Correlation-ID": request})
    for id_ in (placed["id"], placed["user_id"], request):
        capsys.readouterr()
        commands.main(["find", id_])
        [found] = map(json.loads, capsys.readouterr().out.splitlines())
        assert (found["order_id"], found["user_id"]) == (placed["id"], placed["user_id"])
        assert found["summary"].startswith("cancelled: ")
    commands.main(["find", str(uuid4())])
    assert capsys.readouterr().out == ""


def test_an_error_is_one_line(orders: Service, operator: Operator) -> None:
    unknown = uuid4()
    with pytest.raises(SystemExit, match=f"There is no order {unknown}"):
        operator("show", unknown)
