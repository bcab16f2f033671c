"""What staff see of the stock, and how they adjust it."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from contracts.stock import CommitStock, ReserveStock
from services.products.models import Product, ledger
from services.products.models.movement import ADJUSTMENT, Movement
from services.products.models.stock import MAX_WAITING
from tests.products.conftest import STAFF, assert_settled, stock


@pytest.fixture
def adjust(http, staff):
    def post(product_id, quantity, reason="Found behind the shelf.", key=None):
        headers = staff | {"Idempotency-Key": key or uuid4().hex}
        body = {"quantity": quantity, "reason": reason}
        return http.post(f"/products/{product_id}/stock-adjustments", json=body, headers=headers)

    return post


def test_an_adjustment_returns_the_stock_after_it(stocked, adjust):
    (cups,) = stocked(5)
    response = adjust(cups, -2, "Broken in the storeroom.")
    assert response.status_code == 201
    assert {name: response.json[name] for name in ("kind", "number", "reason", "by", "change", "after")} == {
        "kind": "adjustment",
        "number": 2,
        "reason": "Broken in the storeroom.",
        "by": str(STAFF),
        "change": {"on_hand": -2, "held": 0, "sold": 0},
        "after": {"on_hand": 3, "held": 0, "sold": 0},
    }
    assert_settled({cups: 3})


@pytest.mark.parametrize("is_posted", [False, True])
def test_a_repeated_adjustment_changes_nothing_and_gets_the_same_response(stocked, adjust, deliver, is_posted):
    (cups,) = stocked(5)
    with ThreadPoolExecutor(6) as pool:
        responses = list(pool.map(lambda _: adjust(cups, 4, key="k-1"), range(6)))
    deliver(ReserveStock(uuid4(), {cups: 1}))
    if is_posted:
        ledger.post()
    responses.append(adjust(cups, 4, key="k-1"))
    assert {response.status_code for response in responses} == {201}
    assert len({response.text for response in responses}) == 1
    assert stock(cups) == (8, 1, 0)


def test_a_product_with_too_many_unposted_movements_is_adjusted_later(stocked, adjust):
    """Its document must not outgrow what the database can store."""
    (cups,) = stocked(0)
    movements = [Movement.of(ADJUSTMENT).to_mongo().to_dict() for _ in range(MAX_WAITING)]
    Product._get_collection().update_one(
        {"_id": str(cups)}, {"$set": {"movements": movements, "movement_count": MAX_WAITING}}
    )
    refused = adjust(cups, 4)
    assert (refused.status_code, refused.headers["Content-Type"]) == (503, "application/problem+json")
    assert stock(cups) == (0, 0, 0)


def test_a_key_is_for_one_adjustment(stocked, adjust):
    cups, pots = stocked(5, 5)
    assert adjust(cups, 4, key="k-1").status_code == 201
    assert adjust(cups, 5, key="k-1").status_code == 422
    assert adjust(cups, 4, "Another reason.", key="k-1").status_code == 422
    assert adjust(pots, 4, key="k-1").status_code == 201
    assert (stock(cups), stock(pots)) == ((9, 0, 0), (9, 0, 0))


def test_only_units_on_hand_can_be_removed(stocked, adjust, deliver):
    (cups,) = stocked(5)
    deliver(ReserveStock(uuid4(), {cups: 3}))
    refused = adjust(cups, -3)
    assert (refused.status_code, refused.json["type"], refused.json["on_hand"]) == (
        409,
        "/problems/insufficient-stock",
        2,
    )
    assert adjust(cups, -2).status_code == 201
    assert stock(cups) == (0, 3, 0)


def test_concurrent_adjustments_and_orders_all_count(stocked, adjust, deliver):
    (cups,) = stocked(20)
    with ThreadPoolExecutor(8) as pool:
        adjusted = [pool.submit(adjust, cups, quantity) for quantity in (1, -1, 2, -2, 3, 3, -3, -3)]
        held = [pool.submit(deliver, ReserveStock(uuid4(), {cups: 1})) for _ in range(8)]
        assert {each.result().status_code for each in adjusted} == {201}
        assert {each.result() for each in held} == {None}
    assert stock(cups) == (12, 8, 0)
    assert_settled({cups: 20})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"quantity": 0, "reason": "x"}, "quantity"),
        ({"quantity": 1.5, "reason": "x"}, "quantity"),
        ({"quantity": 2_000_000, "reason": "x"}, "quantity"),
        ({"quantity": 1, "reason": "  "}, "reason"),
        ({"quantity": 1}, "reason"),
    ],
)
def test_an_adjustment_needs_a_quantity_and_a_reason(stocked, http, staff, body, field):
    (cups,) = stocked(5)
    response = http.post(f"/products/{cups}/stock-adjustments", json=body, headers=staff | {"Idempotency-Key": "k"})
    assert response.status_code == 422
    assert response.json["errors"][0]["field"] == field


def test_an_adjustment_needs_a_key_and_a_product(stocked, http, staff, adjust):
    (cups,) = stocked(5)
    body = {"quantity": 1, "reason": "x"}
    assert http.post(f"/products/{cups}/stock-adjustments", json=body, headers=staff).status_code == 400
    assert adjust(uuid4(), 1).status_code == 404


def test_a_count_is_a_movement_by_the_difference(add, http, staff):
    kettle = add(stock_quantity=5)
    path = f"/products/{kettle['id']}"
    body = {name: kettle[name] for name in ("sku", "name", "category", "price")}
    for counted in (7, 7):
        seen = http.get(path, headers=staff).headers["ETag"]
        response = http.put(path, json=body | {"stock_quantity": counted}, headers=staff | {"If-Match": seen})
        assert response.status_code == 200, response.text
    ledger.post()
    items = http.get(f"{path}/stock-movements", headers=staff).json["items"]
    assert [(item["kind"], item["change"]["on_hand"]) for item in items] == [("count", 2), ("receipt", 5)]
    assert_settled({kettle["id"]: 7})


@pytest.mark.parametrize(("limit", "following"), [(2, 2), (3, 1)])
def test_the_ledger_is_paged_newest_first(stocked, adjust, http, staff, limit, following):
    (cups,) = stocked(5)
    for quantity in (1, 2, 3):
        adjust(cups, quantity)
    ledger.post()
    path = f"/products/{cups}/stock-movements?limit={limit}"
    first = http.get(path, headers=staff).json
    second = http.get(f"{path}&cursor={first['next']}", headers=staff).json
    numbers = [item["number"] for item in first["items"] + second["items"]]
    assert (numbers, len(second["items"]), second["next"]) == ([4, 3, 2, 1], following, None)
    assert http.get(f"{path}&cursor=bm90aGluZw==", headers=staff).status_code == 422


def test_the_movements_for_one_order_are_found_among_many(stocked, deliver, adjust, http, staff):
    cups, jugs = stocked(5, 5)
    order_id = uuid4()
    deliver(ReserveStock(order_id, {cups: 1, jugs: 2}))
    deliver(ReserveStock(uuid4(), {cups: 1}))
    deliver(CommitStock(order_id))
    adjust(cups, 1)
    ledger.post()
    found = http.get(f"/products/{cups}/stock-movements?reference={order_id}", headers=staff).json
    changes = [(item["change"]["held"], item["change"]["sold"]) for item in found["items"]]
    assert (changes, found["next"]) == ([(-1, 1), (1, 0)], None)


def test_the_current_stock_and_its_threshold(stocked, deliver, http, staff):
    (cups,) = stocked(5)
    path, order_id = f"/products/{cups}/stock", uuid4()
    for message in (ReserveStock(order_id, {cups: 1}), CommitStock(order_id), ReserveStock(uuid4(), {cups: 2})):
        deliver(message)
    changed = http.put(path, json={"low_stock_threshold": 3}, headers=staff)
    assert changed.json == http.get(path, headers=staff).json
    assert {name: changed.json[name] for name in ("on_hand", "held", "sold", "received", "low_stock_threshold")} == {
        "on_hand": 2,
        "held": 2,
        "sold": 1,
        "received": 5,
        "low_stock_threshold": 3,
    }
    assert http.put(path, json={"low_stock_threshold": -1}, headers=staff).status_code == 422


@pytest.mark.parametrize("path", ["stock", "stock-movements"])
def test_stock_is_for_staff(stocked, http, staff, customer, path):
    (cups,) = stocked(5)
    url = f"/products/{cups}/{path}"
    assert http.get(url).status_code == 401
    assert http.get(url, headers=customer).status_code == 403
    assert http.get(url, headers=staff).status_code == 200
    assert http.get(f"/products/{uuid4()}/{path}", headers=staff).status_code == 404
