"""What staff do about an order that waits, by the API inside: with a reason, once for each key, and kept in the trail."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from chassis.run.service import Service
from chassis.run.testing import bearer
from contracts.stock import StockReserved
from tests.orders.conftest import Deliver, confirming, fresh_key, order_id, published

OPERATOR = UUID(int=300)

Act = Callable[..., TestResponse]


@pytest.fixture
def operator(orders: Service) -> dict[str, str]:
    return bearer(orders, OPERATOR, "staff")


@pytest.fixture
def act(http: FlaskClient, operator: dict[str, str]) -> Act:
    """Resumes or compensates an order."""

    def post(
        verb: str,
        id_: UUID,
        why: str = "The bank is back",
        key: dict[str, str] | None = None,
        caller: dict[str, str] = operator,
    ) -> TestResponse:
        path = f"/operations/sagas/{id_}/{verb}"
        return http.post(path, json={"why": why}, headers=caller | (fresh_key() if key is None else key))

    return post


def test_an_order_shows_what_it_waits_for(http: FlaskClient, refused: UUID, operator: dict[str, str], act: Act) -> None:
    seen = http.get(f"/operations/sagas/{refused}", headers=operator).json
    assert (seen["status"], [(step["command"], step["attempts"]) for step in seen["steps"]]) == (
        "cancelled",
        [("stock.restock", 1)],
    )
    assert "lost or stolen" in seen["stuck_reason"]
    act("resume", refused)
    assert http.get(f"/operations/sagas/{refused}", headers=operator).json["stuck_reason"] is None


def test_resume_repeats_what_waits_and_requests_what_is_owed_once_for_each_key(
    act: Act, refused: UUID, deliver: Deliver
) -> None:
    key = fresh_key()
    first, repeated = (act("resume", refused, key=key) for _ in range(2))
    assert (first.status_code, first.json["outcome"], repeated.json) == (200, "cancelled", first.json)
    assert published(deliver()) == ["stock.restock", "payment.refund"]
    act("resume", refused)
    assert published(deliver()) == ["stock.restock", "payment.refund"], "what has waited longest comes first"


@pytest.mark.parametrize("is_confirmed", [False, True])
def test_compensate_cancels_an_order_once_for_each_key(
    act: Act, placed: dict[str, Any], deliver: Deliver, is_confirmed: bool
) -> None:
    id_, key = order_id(placed), fresh_key()
    deliver(*(confirming(id_) if is_confirmed else [StockReserved(id_)]))
    for _ in range(2):
        assert act("compensate", id_, key=key).json["outcome"] == "cancelled"
    sent = published(deliver())
    assert sent[0] == "order.cancelled"
    assert sorted(set(sent)) == sorted(sent), "nothing is sent twice"


def test_compensate_of_a_cancelled_order_resumes_it(act: Act, refused: UUID, deliver: Deliver) -> None:
    act("compensate", refused)
    assert published(deliver()) == ["stock.restock", "payment.refund"]


def test_an_operators_reason_is_for_staff_alone(
    act: Act,
    placed: dict[str, Any],
    http: FlaskClient,
    staff: dict[str, str],
    customer: dict[str, str],
) -> None:
    id_ = order_id(placed)
    act("compensate", id_, why="Looks like fraud")
    assert "Looks like fraud" in http.get(f"/orders/{id_}/events", headers=staff).text
    assert "Looks like fraud" not in http.get(f"/orders/{id_}/events", headers=customer).text


def test_a_key_is_for_one_action_on_one_order(act: Act, refused: UUID) -> None:
    key = fresh_key()
    act("resume", refused, key=key)
    for verb, id_ in (("compensate", refused), ("resume", uuid4())):
        assert act(verb, id_, key=key).json["type"] == "/problems/idempotency-key-reused"


def test_what_was_done_is_kept_with_who_and_why(
    act: Act, refused: UUID, http: FlaskClient, operator: dict[str, str], staff: dict[str, str]
) -> None:
    act("resume", refused)
    act("resume", refused, why="Again", caller=staff)
    again, first = http.get(f"/operations/actions?subject={refused}", headers=staff).json["items"]
    assert (first["name"], first["by"], first["why"]) == ("resume order", str(OPERATOR), "The bank is back")
    assert again["why"] == "Again"


@pytest.mark.parametrize("verb", ["resume", "compensate"])
def test_it_is_for_staff_with_a_key_and_a_reason(
    act: Act, placed: dict[str, Any], customer: dict[str, str], verb: str
) -> None:
    id_ = order_id(placed)
    assert act(verb, id_, caller=customer).status_code == 403
    assert act(verb, id_, key={}).status_code == 400
    assert act(verb, id_, why="").status_code == 422
    assert act(verb, uuid4()).status_code == 404
