"""What orders does about each answer, in and out of turn."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient

from chassis import store
from chassis.messages import Message, PaymentAuthorized, PaymentCaptured, PaymentDeclined, StockRefused, StockReserved
from chassis.service import Service
from chassis.testing import System
from services.orders.models import Event, Order

Hear = Callable[..., System]


def said(system: System) -> list[str]:
    """Types of the messages that orders sent, the first reservation left out."""
    return [envelope.type for envelope in system.sent if envelope.type != "stock.reserve"]


def order_id(placed: dict[str, Any]) -> UUID:
    return UUID(placed["id"])


def test_reserved_and_authorised_is_confirmed(
    http: FlaskClient, placed: dict[str, Any], hear: Hear, customer: dict[str, str]
) -> None:
    id_ = order_id(placed)
    assert said(hear(StockReserved(id_))) == ["payment.authorize"]
    confirmed = hear(PaymentAuthorized(id_, uuid4()))
    assert said(confirmed) == ["order.confirmed", "stock.commit", "payment.capture"]
    assert http.get(f"/orders/{id_}", headers=customer).json["status"] == "confirmed"


def test_the_payment_asked_for_is_the_orders_total(placed: dict[str, Any], hear: Hear) -> None:
    system = hear(StockReserved(order_id(placed)))
    data = system.sent[-1].data
    assert (data["amount"], data["currency"], data["payment_method"]) == (2500, "EUR", "tok_success")


@pytest.mark.parametrize("refusal", ["stock", "payment"])
def test_a_refusal_cancels_with_its_reason_and_undoes_what_was_done(
    http: FlaskClient, placed: dict[str, Any], hear: Hear, customer: dict[str, str], refusal: str
) -> None:
    id_ = order_id(placed)
    if refusal == "stock":
        system = hear(StockRefused(id_, uuid4(), "Sold out."))
        assert said(system) == ["order.cancelled"]
    else:
        system = hear(StockReserved(id_), PaymentDeclined(id_, uuid4(), "Not enough funds."))
        assert said(system) == ["payment.authorize", "order.cancelled", "stock.release"]
    order = http.get(f"/orders/{id_}", headers=customer).json
    assert (order["status"], bool(order["reason"])) == ("cancelled", True)


def test_a_customer_can_cancel_while_pending_and_both_steps_are_called_off(
    http: FlaskClient, placed: dict[str, Any], hear: Hear, customer: dict[str, str]
) -> None:
    id_ = order_id(placed)
    assert http.delete(f"/orders/{id_}", headers=customer).status_code == 204
    assert http.delete(f"/orders/{id_}", headers=customer).status_code == 204
    assert said(hear()) == ["order.cancelled", "stock.release", "payment.void"]
    assert said(hear(StockReserved(id_), PaymentAuthorized(id_, uuid4()))) == []
    assert http.get(f"/orders/{id_}", headers=customer).json["status"] == "cancelled"


def answers(id_: UUID) -> list[Message]:
    return [
        StockReserved(id_),
        StockRefused(id_, uuid4(), "Sold out."),
        PaymentAuthorized(id_, uuid4()),
        PaymentDeclined(id_, uuid4(), "No."),
    ]


def test_an_answer_repeated_in_new_envelopes_moves_nothing(placed: dict[str, Any], hear: Hear) -> None:
    id_ = order_id(placed)
    hear(StockReserved(id_), PaymentAuthorized(id_, uuid4()))
    assert said(hear(*answers(id_))) == []


def test_payment_that_answers_before_stock_moves_nothing(placed: dict[str, Any], hear: Hear) -> None:
    id_ = order_id(placed)
    assert said(hear(PaymentAuthorized(id_, uuid4()), PaymentDeclined(id_, uuid4(), "No."))) == []


def test_an_answer_for_an_order_that_never_was_is_dead(hear: Hear) -> None:
    system = hear(StockReserved(uuid4()))
    assert len(system.dead) == 1


def test_staff_ship_and_deliver_in_turn(
    http: FlaskClient, placed: dict[str, Any], hear: Hear, customer: dict[str, str], staff: dict[str, str]
) -> None:
    id_ = order_id(placed)
    url = f"/orders/{id_}/status"

    def put(status: str, who: dict[str, str] = staff) -> int:
        return http.put(url, json={"status": status}, headers=who).status_code

    assert put("shipped", customer) == 403
    assert put("shipped") == 409
    hear(StockReserved(id_), PaymentAuthorized(id_, uuid4()), PaymentCaptured(id_, uuid4(), 2500, "EUR"))
    assert put("delivered") == 409
    assert put("cancelled") == 409
    assert http.delete(f"/orders/{id_}", headers=customer).status_code == 409
    assert [put("shipped"), put("delivered"), put("shipped")] == [200, 200, 409]
    assert put("confirmed") == 422
    assert http.put(f"/orders/{uuid4()}/status", json={"status": "shipped"}, headers=staff).status_code == 404


def test_staff_can_cancel_a_pending_order_with_a_reason(
    http: FlaskClient, placed: dict[str, Any], staff: dict[str, str]
) -> None:
    body = {"status": "cancelled", "reason": "Fraud suspected."}
    answer = http.put(f"/orders/{placed['id']}/status", json=body, headers=staff)
    assert (answer.json["status"], answer.json["reason"]) == ("cancelled", "Fraud suspected.")


def test_the_timeline_tells_every_step_in_order(
    http: FlaskClient, placed: dict[str, Any], hear: Hear, customer: dict[str, str]
) -> None:
    id_ = order_id(placed)
    hear(StockReserved(id_), PaymentDeclined(id_, uuid4(), "Not enough funds."))
    steps = http.get(f"/orders/{id_}/events", headers=customer).json["items"]
    assert [step["type"] for step in steps] == [
        "order.placed",
        "stock.reserve",
        "stock.reserved",
        "payment.authorize",
        "payment.declined",
        "order.cancelled",
        "stock.release",
    ]
    assert [step["version"] for step in steps] == list(range(1, 8))
    assert steps[5]["reason"] == "Not enough funds."
    assert "tok_" not in str(steps)


def test_an_orders_events_alone_make_its_row_again(orders: Service, placed: dict[str, Any], hear: Hear) -> None:
    id_ = order_id(placed)
    hear(StockReserved(id_), PaymentAuthorized(id_, uuid4()), PaymentCaptured(id_, uuid4(), 2500, "EUR"))
    with store.active(orders.store), orders.store.transaction():
        row = Order.locked(id_)
        replayed = Order(id=id_)
        for event in Event.stream_of(id_):
            replayed.apply(event.message, event.occurred_at)
            replayed.version = event.version
        columns = [column.key for column in Order.__mapper__.column_attrs]
        assert {key: getattr(replayed, key) for key in columns} == {
            "reason": None, **{key: getattr(row, key) for key in columns}
        }  # fmt: skip
