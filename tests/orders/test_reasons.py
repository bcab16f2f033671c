"""Every reason as a customer and staff read it over HTTP, in the order and in its timeline."""

from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient

from contracts.reasons import Audience, Reason
from contracts.stock import StockRefused
from tests.orders.conftest import Deliver, order_id
from tests.reasons import READERS, REASONS, hidden


@pytest.mark.parametrize("reason", REASONS)
def test_a_reason_is_read_in_the_readers_words(
    http: FlaskClient,
    placed: dict[str, Any],
    deliver: Deliver,
    customer: dict[str, str],
    staff: dict[str, str],
    reason: Reason,
) -> None:
    id_ = order_id(placed)
    deliver(StockRefused(id_, uuid4(), reason))
    for audience, language in READERS:
        headers = (staff if audience is Audience.STAFF else customer) | {"Accept-Language": f"{language}-CH, fr;q=0.5"}
        expected = (reason.shown_to(audience), reason.text(audience, language))
        paths = (f"/orders/{id_}", "/orders/", f"/orders/{id_}/events")
        order, orders, timeline = (http.get(path, headers=headers) for path in paths)
        assert "Accept-Language" in order.headers["Vary"]
        steps = [step for step in timeline.json["items"] if step["type"] in ("stock.refused", "order.cancelled")]
        for shown in (order.json, *orders.json["items"], *steps):
            assert (shown["reason"], shown["reason_text"]) == expected
        if audience is Audience.CUSTOMER:
            pages = order.text + orders.text + timeline.text
            assert [secret for secret in hidden(reason) if secret in pages] == []


def test_without_a_language_that_we_speak_a_reason_is_read_in_english(
    http: FlaskClient, placed: dict[str, Any], deliver: Deliver, customer: dict[str, str]
) -> None:
    id_ = order_id(placed)
    deliver(StockRefused(id_, uuid4(), Reason.OUT_OF_STOCK))
    for headers in ({}, {"Accept-Language": "fr"}):
        order = http.get(f"/orders/{id_}", headers=customer | headers).json
        assert order["reason_text"] == "Something in the order is out of stock."
