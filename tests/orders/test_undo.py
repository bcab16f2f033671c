"""Every failed step and every cancellation ends with nothing held, captured or owed, or visibly stuck."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient

from chassis.messaging.message import Message
from chassis.run.service import Service
from chassis.run.testing import System
from contracts.payments import (
    CaptureRefused,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentDeclined,
    PaymentRefunded,
    PaymentVoided,
    RefundRefused,
)
from contracts.reasons import Reason
from contracts.stock import StockCommitted, StockRefused, StockReleased, StockReserved, StockRestocked
from tests.conftest import app_of
from tests.orders.conftest import Deliver, confirming, fresh_key, fulfilling, order_id, published

PAYMENT = UUID(int=7)
CAPTURED = 2500

Scenario = Callable[[UUID], list[Message]]


def captured(id_: UUID) -> PaymentCaptured:
    return PaymentCaptured(id_, PAYMENT, CAPTURED, "EUR")


@pytest.mark.parametrize(
    ("scenario", "failure", "undone"),
    [
        (lambda _: [], lambda id_: StockRefused(id_, uuid4(), Reason.OUT_OF_STOCK), []),
        (
            lambda id_: [StockReserved(id_)],
            lambda id_: PaymentDeclined(id_, PAYMENT, Reason.EXPIRED_CARD),
            ["stock.release"],
        ),
        # The hold expired before it was sold: the money is not taken yet, being taken, or taken.
        (confirming, lambda id_: StockRefused(id_, uuid4(), Reason.OUT_OF_STOCK), []),
        (
            lambda id_: [*confirming(id_), captured(id_)],
            lambda id_: StockRefused(id_, uuid4(), Reason.OUT_OF_STOCK),
            ["payment.refund"],
        ),
        # The capture fails: the goods are being sold, or sold.
        (confirming, lambda id_: CaptureRefused(id_, PAYMENT, Reason.EXPIRED_CARD), ["payment.void"]),
        (
            lambda id_: [*confirming(id_), StockCommitted(id_)],
            lambda id_: CaptureRefused(id_, PAYMENT, Reason.EXPIRED_CARD),
            ["stock.restock", "payment.void"],
        ),
    ],
    ids=["reserve", "authorize", "commit early", "commit late", "capture early", "capture late"],
)
def test_a_failed_step_cancels_the_order_and_undoes_what_was_done(
    http: FlaskClient,
    placed: dict[str, Any],
    deliver: Deliver,
    staff: dict[str, str],
    scenario: Scenario,
    failure: Callable[[UUID], Message],
    undone: list[str],
) -> None:
    id_ = order_id(placed)
    deliver(*scenario(id_))
    assert published(deliver(failure(id_))) == ["order.cancelled", *undone]
    assert published(deliver(failure(id_))) == []
    assert http.get(f"/orders/{id_}", headers=staff).json["status"] == "cancelled"


@pytest.mark.parametrize(
    ("scenario", "undone"),
    [
        (lambda _: [], ["stock.release"]),
        (lambda id_: [StockReserved(id_)], ["stock.release", "payment.void"]),
        (confirming, []),
        (lambda id_: [*confirming(id_), StockCommitted(id_)], ["stock.restock"]),
        (lambda id_: [*confirming(id_), captured(id_)], ["payment.refund"]),
        (lambda id_: [*confirming(id_), *fulfilling(id_)], ["stock.restock", "payment.refund"]),
    ],
    ids=["placed", "reserved", "confirmed", "sold", "captured", "settled"],
)
def test_a_customer_can_cancel_an_order_until_it_is_shipped(
    http: FlaskClient,
    placed: dict[str, Any],
    deliver: Deliver,
    customer: dict[str, str],
    scenario: Scenario,
    undone: list[str],
) -> None:
    id_ = order_id(placed)
    deliver(*scenario(id_))
    for _ in range(2):
        assert http.delete(f"/orders/{id_}", headers=customer).status_code == 204
    assert published(deliver()) == ["order.cancelled", *undone]
    order = http.get(f"/orders/{id_}", headers=customer).json
    assert (order["status"], order["reason"]) == ("cancelled", "cancelled_by_customer")


@pytest.mark.parametrize("first", ["sale", "capture"])
def test_replies_that_come_after_the_cancellation_are_undone(
    http: FlaskClient, placed: dict[str, Any], deliver: Deliver, customer: dict[str, str], first: str
) -> None:
    id_ = order_id(placed)
    deliver(*confirming(id_))
    http.delete(f"/orders/{id_}", headers=customer)
    late: list[tuple[Message, str]] = [(StockCommitted(id_), "stock.restock"), (captured(id_), "payment.refund")]
    for reply, compensation in late if first == "sale" else reversed(late):
        assert published(deliver(reply))[-1:] == [compensation]
        assert published(deliver(reply)) == []


def test_a_capture_that_is_refused_after_the_cancellation_voids_the_payment(
    http: FlaskClient, placed: dict[str, Any], deliver: Deliver, customer: dict[str, str]
) -> None:
    """Until that reply it is not known whether to refund or to void."""
    id_ = order_id(placed)
    deliver(*confirming(id_))
    http.delete(f"/orders/{id_}", headers=customer)
    assert published(deliver())[-1:] == ["order.cancelled"]
    assert published(deliver(CaptureRefused(id_, PAYMENT, Reason.FAILED))) == ["payment.void"]


def test_a_capture_that_succeeds_after_its_refusal_is_recorded(
    http: FlaskClient, placed: dict[str, Any], deliver: Deliver, staff: dict[str, str]
) -> None:
    """The void that follows the refusal returns it."""
    id_ = order_id(placed)
    deliver(*confirming(id_), StockCommitted(id_), CaptureRefused(id_, PAYMENT, Reason.FAILED))
    assert published(deliver(captured(id_))) == []
    assert http.get(f"/orders/{id_}", headers=staff).json["captured_amount"] == "25.00"


def test_staff_may_cancel_what_is_cancelled(
    http: FlaskClient, placed: dict[str, Any], deliver: Deliver, staff: dict[str, str]
) -> None:
    id_ = order_id(placed)
    for _ in range(2):
        body = {"status": "cancelled", "reason": "cancelled_by_shop"}
        response = http.put(f"/orders/{id_}/status", json=body, headers=staff)
        assert (response.status_code, response.json["status"]) == (200, "cancelled")
    assert published(deliver()) == ["order.cancelled", "stock.release"]


def test_a_cancelled_order_is_refunded_once_all_money_is_back(
    http: FlaskClient, placed: dict[str, Any], deliver: Deliver, customer: dict[str, str]
) -> None:
    id_ = order_id(placed)
    deliver(*confirming(id_), *fulfilling(id_))
    http.delete(f"/orders/{id_}", headers=customer)
    refund = deliver().sent[-1]
    assert (refund.type, refund.data["amount"]) == ("payment.refund", CAPTURED)
    assert refund.data["reason"] == "cancelled_by_customer"
    back = PaymentRefunded(id_, PAYMENT, UUID(refund.data["refund_id"]), CAPTURED, "EUR")
    told = deliver(back, StockRestocked(id_))
    assert published(told) == ["order.refunded"]
    assert (told.sent[0].data["amount"], told.sent[0].data["reason"]) == (CAPTURED, "cancelled_by_customer")
    assert published(deliver(back)) == []
    order = http.get(f"/orders/{id_}", headers=customer).json
    assert (order["status"], order["refunded_amount"], order["captured_amount"]) == ("refunded", "25.00", "25.00")


def test_an_order_cancelled_early_is_not_stuck(placed: dict[str, Any], deliver: Deliver, stuck: Any) -> None:
    id_ = order_id(placed)
    deliver(
        StockReserved(id_), PaymentDeclined(id_, PAYMENT, Reason.DECLINED), StockReleased(id_), PaymentVoided(id_, None)
    )
    assert stuck(id_) is None


class TestRefunds:
    """Of an order that is not called off."""

    @pytest.fixture
    def paid(self, placed: dict[str, Any], deliver: Deliver) -> UUID:
        id_ = order_id(placed)
        deliver(*confirming(id_), *fulfilling(id_))
        return id_

    def request(self, orders: Service, staff: dict[str, str], id_: UUID, **body: Any) -> int:
        response = app_of(orders).test_client().post(f"/orders/{id_}/refunds", json=body, headers=staff | fresh_key())
        return response.status_code

    def sent(self, system: System) -> list[tuple[UUID, int]]:
        requests = [envelope.data for envelope in system.sent if envelope.type == "payment.refund"]
        return [(UUID(data["refund_id"]), data["amount"]) for data in requests]

    def test_an_order_takes_fifty_refunds(
        self, orders: Service, paid: UUID, deliver: Deliver, staff: dict[str, str]
    ) -> None:
        """All are in its row."""
        statuses = [self.request(orders, staff, paid, amount="0.01") for _ in range(51)]
        assert statuses == [201] * 50 + [409]
        assert len(self.sent(deliver())) == 50

    def test_partial_refunds_until_nothing_is_left(
        self, orders: Service, http: FlaskClient, paid: UUID, deliver: Deliver, staff: dict[str, str]
    ) -> None:
        assert self.request(orders, staff, paid, amount="10.00", note={"text": "A scratch."}) == 201
        assert self.request(orders, staff, paid, amount="15.01") == 409
        [(first, amount)] = self.sent(deliver())
        assert amount == 1000
        system = deliver(PaymentRefunded(paid, PAYMENT, first, 1000, "EUR"))
        assert system.sent[-1].data["note"] == {"text": "A scratch.", "audience": "staff"}
        order = http.get(f"/orders/{paid}", headers=staff).json
        assert (order["status"], order["refunded_amount"]) == ("confirmed", "10.00")
        assert self.request(orders, staff, paid) == 201
        [(rest, amount)] = self.sent(deliver())
        assert amount == 1500
        assert published(deliver(PaymentRefunded(paid, PAYMENT, rest, 1500, "EUR"))) == [
            "order.refunded",
            "stock.restock",
        ]
        assert http.get(f"/orders/{paid}", headers=staff).json["status"] == "refunded"
        assert self.request(orders, staff, paid) == 409

    def test_concurrent_full_refunds_are_one(
        self, orders: Service, paid: UUID, deliver: Deliver, staff: dict[str, str]
    ) -> None:
        with ThreadPoolExecutor(4) as pool:
            statuses = list(pool.map(lambda _: self.request(orders, staff, paid), range(4)))
        assert sorted(statuses) == [201, 409, 409, 409]
        assert [amount for _, amount in self.sent(deliver())] == [CAPTURED]

    def test_a_cancellation_refunds_the_rest(
        self, orders: Service, http: FlaskClient, paid: UUID, deliver: Deliver, staff: dict[str, str]
    ) -> None:
        self.request(orders, staff, paid, amount="10.00")
        http.delete(f"/orders/{paid}", headers=staff)
        (first, _), (second, owed) = self.sent(deliver())
        assert owed == 1500
        deliver(PaymentRefunded(paid, PAYMENT, second, 1500, "EUR"), PaymentRefunded(paid, PAYMENT, first, 1000, "EUR"))
        assert http.get(f"/orders/{paid}", headers=staff).json["status"] == "refunded"

    def test_a_refused_partial_refund_is_included_in_the_cancellation(
        self, orders: Service, http: FlaskClient, paid: UUID, deliver: Deliver, staff: dict[str, str]
    ) -> None:
        self.request(orders, staff, paid, amount="10.00")
        [(first, _)] = self.sent(deliver())
        assert published(deliver(RefundRefused(paid, first, Reason.REFUND_REFUSED))) == []
        http.delete(f"/orders/{paid}", headers=staff)
        assert [amount for _, amount in self.sent(deliver())] == [CAPTURED]

    def test_a_refused_refund_of_an_order_that_stands_needs_no_operator(
        self, orders: Service, paid: UUID, deliver: Deliver, staff: dict[str, str], stuck: Any
    ) -> None:
        """Also while another is under way."""
        for _ in range(2):
            self.request(orders, staff, paid, amount="10.00")
        (refused, _), _ = self.sent(deliver())
        deliver(RefundRefused(paid, refused, Reason.REFUND_REFUSED))
        assert stuck(paid) is None

    def test_a_refund_that_succeeds_after_its_refusal_counts(
        self, orders: Service, paid: UUID, deliver: Deliver, staff: dict[str, str]
    ) -> None:
        self.request(orders, staff, paid, amount="10.00")
        [(refund, _)] = self.sent(deliver())
        deliver(RefundRefused(paid, refund, Reason.REFUND_REFUSED))
        for told in (["order.refunded"], []):
            assert published(deliver(PaymentRefunded(paid, PAYMENT, refund, 1000, "EUR"))) == told

    def test_a_refund_made_at_the_payments_service_counts(
        self, orders: Service, http: FlaskClient, paid: UUID, deliver: Deliver, staff: dict[str, str]
    ) -> None:
        """Also when it races with a cancellation, which then owes only the rest."""
        http.delete(f"/orders/{paid}", headers=staff)
        [(requested, _)] = self.sent(deliver())
        deliver(RefundRefused(paid, requested, Reason.EXCEEDS_CAPTURED))
        system = deliver(PaymentRefunded(paid, PAYMENT, uuid4(), 1000, "EUR"))
        assert system.sent[0].data["reason"] == "refunded_by_shop"
        [(again, owed)] = self.sent(system)
        assert owed == 1500
        deliver(PaymentRefunded(paid, PAYMENT, again, 1500, "EUR"), StockRestocked(paid))
        assert http.get(f"/orders/{paid}", headers=staff).json["status"] == "refunded"
        assert http.get("/orders/?stuck=true", headers=staff).json["items"] == []

    def test_only_staff_can_refund_and_only_what_was_paid(
        self, orders: Service, placed: dict[str, Any], customer: dict[str, str], staff: dict[str, str]
    ) -> None:
        assert self.request(orders, customer, order_id(placed)) == 403
        assert self.request(orders, staff, order_id(placed)) == 409
        assert self.request(orders, staff, order_id(placed), amount="-1.00") == 422
        assert self.request(orders, staff, uuid4()) == 404


def test_concurrent_cancellations_are_one(
    orders: Service, placed: dict[str, Any], deliver: Deliver, customer: dict[str, str], staff: dict[str, str]
) -> None:
    """Also while the reply to the capture arrives."""
    id_ = order_id(placed)
    deliver(*confirming(id_), StockCommitted(id_))

    def cancel(who: dict[str, str]) -> int:
        return app_of(orders).test_client().delete(f"/orders/{id_}", headers=who).status_code

    with ThreadPoolExecutor(5) as pool:
        racing = pool.submit(deliver, captured(id_))
        statuses = list(pool.map(cancel, [customer, staff, customer, staff]))
    assert set(statuses) == {204}
    everything = [*racing.result().sent, *deliver().sent]
    assert sorted(envelope.type for envelope in everything) == ["order.cancelled", "payment.refund", "stock.restock"]


def test_late_replies_to_superseded_commands_change_nothing(
    placed: dict[str, Any], deliver: Deliver, http: FlaskClient, customer: dict[str, str]
) -> None:
    id_ = order_id(placed)
    deliver(StockReserved(id_))
    http.delete(f"/orders/{id_}", headers=customer)
    deliver()
    late = (StockReserved(id_), PaymentAuthorized(id_, PAYMENT), PaymentDeclined(id_, PAYMENT, Reason.CANCELLED))
    assert published(deliver(*late)) == []
    assert published(deliver(StockReleased(id_), PaymentVoided(id_, PAYMENT))) == []
