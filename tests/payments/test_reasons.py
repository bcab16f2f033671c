"""Every reason as a customer and staff read it over HTTP, in payments and refunds."""

from uuid import uuid4

import pytest

from chassis.run.testing import bearer
from contracts.reasons import Audience
from tests.reasons import READERS, REASONS, hidden

ADA = uuid4()


@pytest.fixture
def get(payments, client):
    def read(path, audience, language):
        user = bearer(payments, uuid4(), "staff") if audience is Audience.STAFF else bearer(payments, ADA)
        return client(payments).get(path, headers=user | {"Accept-Language": language})

    return read


@pytest.fixture
def refunded(payments, client, orders):
    """A payment of Ada's with a refund; gives its id."""
    http, key = client(payments), {"Idempotency-Key": str(uuid4())}
    body = {"amount": "12.50", "currency": "EUR", "payment_method": "tok_success"}
    payment_id = http.post("/payments/process", json=body, headers=bearer(payments, ADA) | key).json["id"]
    orders.system.drain()
    staff = bearer(payments, uuid4(), "staff")
    assert http.post("/payments/refund", json={"payment_id": payment_id}, headers=staff | key).status_code == 201
    return payment_id


@pytest.mark.parametrize("reason", REASONS)
def test_a_reason_is_read_in_the_readers_words(payments, refunded, get, reason):
    with payments.store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE payments SET decline_reason = %s", (reason.value,))
        connection.exec_driver_sql("UPDATE refunds SET reason = %s, refusal_reason = %s", (reason.value,) * 2)
    for audience, language in READERS:
        expected = (reason.shown_to(audience), reason.text(audience, language))
        paths = (f"/payments/{refunded}", f"/payments/user/{ADA}", f"/payments/{refunded}/refunds")
        payment, history, refunds = (get(path, audience, language) for path in paths)
        for shown in (payment.json, *history.json["items"]):
            assert (shown["decline_reason"], shown["decline_text"]) == expected
        [refund] = refunds.json["items"]
        assert (refund["reason"], refund["reason_text"]) == expected
        assert (refund["refusal_reason"], refund["refusal_text"]) == expected
        if audience is Audience.CUSTOMER:
            pages = payment.text + history.text + refunds.text
            assert [secret for secret in hidden(reason) if secret in pages] == []
