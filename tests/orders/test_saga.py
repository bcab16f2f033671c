"""What orders does about each reply, in and out of order."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient
from prometheus_client import REGISTRY
from sqlalchemy import text

from chassis.messaging.envelope import Envelope
from chassis.messaging.message import Message
from chassis.run.service import Service
from chassis.run.testing import System
from chassis.storage.postgres_store import PostgresStore
from contracts.payments import CaptureRefused, PaymentAuthorized, PaymentCaptured, PaymentDeclined
from contracts.reasons import Reason
from contracts.stock import StockCommitted, StockRefused, StockReserved
from tests.conftest import waiting_for_locks
from tests.installation import until
from tests.orders.conftest import Deliver, confirming, fresh_key, fulfilling, order_id, order_of, published

Product = Callable[..., dict[str, Any]]


def test_a_reserved_and_authorised_order_is_confirmed(
    http: FlaskClient, placed: dict[str, Any], deliver: Deliver, customer: dict[str, str]
) -> None:
    id_ = order_id(placed)
    assert published(deliver(StockReserved(id_))) == ["payment.authorize"]
    confirmed = deliver(PaymentAuthorized(id_, uuid4()))
    assert published(confirmed) == ["order.confirmed", "stock.commit", "payment.capture"]
    order = http.get(f"/orders/{id_}", headers=customer).json
    assert (order["status"], bool(order["confirmed_at"])) == ("confirmed", True)


def test_the_payment_requested_is_the_orders_total(placed: dict[str, Any], deliver: Deliver) -> None:
    system = deliver(StockReserved(order_id(placed)))
    data = system.sent[-1].data
    assert (data["amount"], data["currency"], data["payment_method"]) == (2500, "EUR", "tok_success")


@pytest.mark.parametrize("refusal", ["stock", "payment"])
def test_a_refusal_cancels_with_its_reason_and_undoes_what_was_done(
    http: FlaskClient, placed: dict[str, Any], deliver: Deliver, customer: dict[str, str], refusal: str
) -> None:
    id_ = order_id(placed)
    if refusal == "stock":
        system = deliver(StockRefused(id_, uuid4(), Reason.OUT_OF_STOCK))
        assert published(system) == ["order.cancelled"]
    else:
        system = deliver(StockReserved(id_), PaymentDeclined(id_, uuid4(), Reason.INSUFFICIENT_FUNDS))
        assert published(system) == ["payment.authorize", "order.cancelled", "stock.release"]
    order = http.get(f"/orders/{id_}", headers=customer).json
    assert (order["status"], bool(order["reason"])) == ("cancelled", True)


def replies(id_: UUID) -> list[Message]:
    return [
        StockReserved(id_),
        StockRefused(id_, uuid4(), Reason.OUT_OF_STOCK),
        PaymentAuthorized(id_, uuid4()),
        PaymentDeclined(id_, uuid4(), Reason.DECLINED),
        StockCommitted(id_),
        PaymentCaptured(id_, uuid4(), 2500, "EUR"),
        CaptureRefused(id_, uuid4(), Reason.EXPIRED_CARD),
    ]


def test_the_time_until_an_order_is_settled_is_measured_once(placed: dict[str, Any], deliver: Deliver) -> None:
    def measured() -> float:
        return REGISTRY.get_sample_value("souk_order_settling_seconds_count") or 0

    id_, before = order_id(placed), measured()
    deliver(*confirming(id_), *fulfilling(id_))
    assert measured() == before + 1


def test_replies_repeated_in_new_envelopes_change_nothing(placed: dict[str, Any], deliver: Deliver) -> None:
    id_ = order_id(placed)
    deliver(*confirming(id_), *fulfilling(id_))
    assert published(deliver(*replies(id_))) == []


def test_a_payment_reply_before_the_stock_reply_changes_nothing(placed: dict[str, Any], deliver: Deliver) -> None:
    id_ = order_id(placed)
    assert published(deliver(PaymentAuthorized(id_, uuid4()), PaymentDeclined(id_, uuid4(), Reason.DECLINED))) == []


def test_a_reply_for_an_unknown_order_is_a_dead_letter(deliver: Deliver) -> None:
    system = deliver(StockReserved(uuid4()))
    assert len(system.dead_letters) == 1


def test_messages_handled_together_lock_their_orders_in_one_order(
    orders: Service, http: FlaskClient, product: Product, customer: dict[str, str]
) -> None:
    """Else two batches could wait for each other."""
    made = [http.post("/orders/", json=order_of((product(), 1)), headers=customer | fresh_key()) for _ in range(2)]
    low, high = sorted(UUID(response.json["id"]) for response in made)
    lock = text("SELECT 1 FROM orders WHERE id = :id FOR UPDATE NOWAIT")
    assert isinstance(orders.store, PostgresStore)
    with orders.store.engine.connect() as ours, orders.store.engine.connect() as others, ThreadPoolExecutor() as pool:
        ours.execute(lock, {"id": low})
        batch = [Envelope.of(StockReserved(id_), "test") for id_ in (high, low)]
        handled = pool.submit(System([orders]).deliver_together, orders, batch)
        try:
            until(lambda: waiting_for_locks(orders) == 1)
            others.execute(lock, {"id": high})
        finally:
            others.rollback()
            ours.rollback()
        handled.result()


def test_staff_ship_and_then_deliver(
    http: FlaskClient, placed: dict[str, Any], deliver: Deliver, customer: dict[str, str], staff: dict[str, str]
) -> None:
    id_ = order_id(placed)
    url = f"/orders/{id_}/status"

    def put(status: str, who: dict[str, str] = staff) -> int:
        return http.put(url, json={"status": status}, headers=who).status_code

    assert put("shipped", customer) == 403
    assert put("shipped") == 409
    deliver(*confirming(id_), PaymentCaptured(id_, uuid4(), 2500, "EUR"))
    assert put("shipped") == 409, "while its goods are not sold"
    deliver(StockCommitted(id_))
    assert put("delivered") == 409
    assert put("shipped") == 200
    assert http.delete(f"/orders/{id_}", headers=customer).status_code == 409
    assert put("cancelled") == 409
    assert [put("delivered"), put("shipped"), put("cancelled")] == [200, 409, 409]
    assert put("confirmed") == 422
    assert http.put(f"/orders/{uuid4()}/status", json={"status": "shipped"}, headers=staff).status_code == 404


def test_a_status_change_requires_the_current_etag(
    http: FlaskClient, placed: dict[str, Any], deliver: Deliver, staff: dict[str, str]
) -> None:
    id_ = order_id(placed)
    seen = http.get(f"/orders/{id_}", headers=staff).headers["ETag"]
    deliver(*confirming(id_), *fulfilling(id_))
    body = {"status": "shipped"}
    url = f"/orders/{id_}"
    assert http.put(f"{url}/status", json=body, headers=staff | {"If-Match": seen}).status_code == 412
    assert http.delete(url, headers=staff | {"If-Match": seen}).status_code == 412
    refund = http.post(f"{url}/refunds", json={}, headers=staff | fresh_key() | {"If-Match": seen})
    assert refund.status_code == 412
    now = http.get(url, headers=staff).headers["ETag"]
    assert http.put(f"{url}/status", json=body, headers=staff | {"If-Match": now}).status_code == 200


@pytest.mark.parametrize(("audience", "is_read"), [(None, False), ("staff", False), ("customer", True)])
def test_a_note_on_a_cancellation_is_shown_to_customers_only_if_addressed_to_them(
    http: FlaskClient,
    placed: dict[str, Any],
    customer: dict[str, str],
    staff: dict[str, str],
    audience: str | None,
    is_read: bool,
) -> None:
    note = {"text": "Third card in an hour."} | ({"audience": audience} if audience else {})
    body = {"status": "cancelled", "reason": "fraud_suspected", "note": note}
    response = http.put(f"/orders/{placed['id']}/status", json=body, headers=staff)
    assert (response.json["status"], response.json["reason"]) == ("cancelled", "fraud_suspected")
    url = f"/orders/{placed['id']}/events"
    assert "Third card" in http.get(url, headers=staff).text
    assert ("Third card" in http.get(url, headers=customer).text) == is_read
    assert http.get(f"/orders/{placed['id']}", headers=customer).json["reason"] == "declined"


def test_a_free_text_reason_is_refused(http: FlaskClient, placed: dict[str, Any], staff: dict[str, str]) -> None:
    body = {"status": "cancelled", "reason": "Fraud suspected."}
    refused = http.put(f"/orders/{placed['id']}/status", json=body, headers=staff)
    assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "reason")


def test_the_timeline_lists_every_event_in_order(
    http: FlaskClient, placed: dict[str, Any], deliver: Deliver, customer: dict[str, str]
) -> None:
    id_ = order_id(placed)
    deliver(StockReserved(id_), PaymentDeclined(id_, uuid4(), Reason.INSUFFICIENT_FUNDS))
    timeline = http.get(f"/orders/{id_}/events", headers=customer).json
    steps = timeline["items"]
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
    assert steps[5]["reason"] == "insufficient_funds"
    assert steps[0]["summary"] == "Order placed for 25.00 EUR."
    assert "tok_" not in str(steps)
    assert timeline["next"] is None


def test_the_timeline_is_paged(
    http: FlaskClient, placed: dict[str, Any], deliver: Deliver, customer: dict[str, str]
) -> None:
    url = f"/orders/{placed['id']}/events?limit=4"
    deliver(*confirming(order_id(placed)))
    first = http.get(url, headers=customer).json
    second = http.get(f"{url}&cursor={first['next']}", headers=customer).json
    assert [step["version"] for page in (first, second) for step in page["items"]] == list(range(1, 9))
    assert second["next"] is None


def test_only_staff_see_that_a_card_was_stolen(
    http: FlaskClient, placed: dict[str, Any], deliver: Deliver, customer: dict[str, str], staff: dict[str, str]
) -> None:
    id_ = order_id(placed)
    deliver(StockReserved(id_), PaymentDeclined(id_, uuid4(), Reason.STOLEN_CARD))
    for path in (f"/orders/{id_}", f"/orders/{id_}/events", "/orders/"):
        assert "stolen" not in http.get(path, headers=customer).text
        assert "declined" in http.get(path, headers=customer).text
        assert "stolen_card" in http.get(path, headers=staff).text


def test_a_line_keeps_the_category_at_the_time_of_the_order(
    placed: dict[str, Any], deliver: Callable[..., System]
) -> None:
    assert [line["category"] for line in placed["lines"]] == ["kitchen"]
    id_ = order_id(placed)
    confirmed = next(sent for sent in deliver(*confirming(id_)).sent if sent.type == "order.confirmed")
    assert [line["category"] for line in confirmed.data["lines"]] == ["kitchen"]
