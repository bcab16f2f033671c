"""The catalogue by pages, and its categories."""

import base64
import json
from uuid import UUID, uuid4

import pytest
import redis

from services.products import cache
from tests.conftest import server_url


def pages(http, path, **query):
    """Every item, and how many pages they came in."""
    items, cursor, turned = [], None, 0
    while cursor is not None or not turned:
        response = http.get(path, query_string={**query, **({"cursor": cursor} if cursor else {})})
        assert response.status_code == 200, response.text
        items += response.json["items"]
        cursor, turned = response.json["next"], turned + 1
    return items, turned


@pytest.mark.parametrize("sort", ["newest", "name"])
def test_pages_give_every_product_once_in_order(http, add, sort):
    made = [add(name=name) for name in ["d", "b", "c", "b", "a", "e", "b"]]
    shown, turned = pages(http, "/products/", limit=2, sort=sort)
    fields = ("name", "id") if sort == "name" else ("created_at", "id")
    in_order = sorted(made, key=lambda one: [one[field] for field in fields], reverse=sort == "newest")
    assert shown == in_order
    assert turned == 4


def test_a_page_stays_right_while_products_come_and_go(http, add, staff):
    made = [add(name=name) for name in "bdf"]
    first = http.get("/products/?limit=2&sort=name").json
    add(name="a")
    late = add(name="e")
    http.delete(f"/products/{made[1]['id']}", headers=staff)
    second = http.get("/products/", query_string={"limit": 2, "sort": "name", "cursor": first["next"]}).json
    assert [one["id"] for one in second["items"]] == [late["id"], made[2]["id"]]
    assert second["next"] is None


@pytest.mark.parametrize("sort", ["newest", "name"])
def test_a_category_lists_only_its_own_products(http, add, sort):
    made = [add(category=category)["id"] for category in ["tea", "rugs", "tea", "tea"]]
    shown, _ = pages(http, "/products/", limit=2, category="tea", sort=sort)
    assert {one["id"] for one in shown} == {made[0], made[2], made[3]}
    assert pages(http, "/products/", category="lamps") == ([], 1)


def cursor(*values):
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode()


@pytest.mark.parametrize(
    "wrong",
    [
        "x",
        "é",
        cursor("name", "a", str(UUID(int=1))),
        cursor("newest", "yesterday", str(UUID(int=1))),
        cursor("newest", "2026-01-01T00:00:00+00:00", "x"),
        cursor("newest", "9999-12-31T23:59:59-23:00", str(UUID(int=1))),
        cursor("newest", "2026-01-01T00:00:00+00:00"),
        cursor({"$gt": ""}, {"$gt": ""}, {"$gt": ""}),
        cursor("oldest", "2026-01-01T00:00:00+00:00", str(UUID(int=1))),
    ],
)
def test_a_forged_cursor_is_refused(http, products, wrong):
    response = http.get("/products/", query_string={"cursor": wrong})
    assert response.status_code == 422
    assert response.json["errors"][0]["field"] == "cursor"


@pytest.mark.parametrize(
    ("field", "value"),
    [("limit", "0"), ("limit", "101"), ("limit", "x"), ("sort", "best"), ("category", "x" * 101), ("colour", "red")],
)
def test_an_invalid_parameter_is_named(http, products, field, value):
    response = http.get("/products/", query_string={field: value})
    assert response.status_code == 422
    assert [wrong["field"] for wrong in response.json["errors"]] == [field]


def test_categories_count_what_is_on_sale(http, add, staff):
    for category in ["tea", "rugs", "tea", "lamps"]:
        add(category=category)
    gone = add(category="tea")
    http.delete(f"/products/{gone['id']}", headers=staff)
    expected = [
        {"category": "lamps", "products": 1},
        {"category": "rugs", "products": 1},
        {"category": "tea", "products": 2},
    ]
    assert http.get("/products/categories").json == {"items": expected, "next": None}
    assert pages(http, "/products/categories", limit=2) == (expected, 2)


def test_only_orders_may_read_quotes(http, add, staff, customer):
    made = add(price="12.50", stock_quantity=3)
    gone = add()
    http.delete(f"/products/{gone['id']}", headers=staff)
    path = f"/internal/products?ids={made['id']},{gone['id']},{uuid4()}"
    response = http.get(path, headers={"X-API-Key": "orders-key"})
    quotes = {quote["id"]: quote for quote in response.json["items"]}
    assert quotes.keys() == {made["id"], gone["id"]}
    assert quotes[made["id"]] == {
        "id": made["id"],
        "sku": made["sku"],
        "name": "Copper kettle",
        "category": "kitchen",
        "amount": 1250,
        "currency": "EUR",
        "is_active": True,
        "stock_quantity": 3,
    }
    assert quotes[gone["id"]]["is_active"] is False
    for headers, status in (({}, 401), (customer, 403), (staff, 403), ({"X-API-Key": "guess"}, 401)):
        assert http.get(path, headers=headers).status_code == status


@pytest.mark.parametrize(
    ("count", "status"),
    [(1, 200), (100, 200), (101, 422), (0, 422)],
)
def test_at_most_a_hundred_quotes_are_read_at_once(http, products, count, status):
    ids = ",".join(str(uuid4()) for _ in range(count))
    response = http.get("/internal/products", query_string={"ids": ids}, headers={"X-API-Key": "orders-key"})
    assert response.status_code == status, response.text


def test_a_malformed_id_of_a_quote_is_named(http, products):
    ids = f"{uuid4()},kettle"
    response = http.get("/internal/products", query_string={"ids": ids}, headers={"X-API-Key": "orders-key"})
    assert response.status_code == 422
    assert [wrong["field"] for wrong in response.json["errors"]] == ["ids.1"]


@pytest.mark.parametrize(
    ("path", "other"),
    [
        ("/products/?limit=20&sort=newest", "/products?sort=newest"),
        ("/products/?category=Tea&in_stock=true", "/products/?in_stock=1&category=Tea&limit=20"),
        ("/products/?min_price=5.00", "/products/?min_price=5.0"),
        ("/products/search?q=Green+tea", "/products/search?q=%20green,%20TEAS!"),
    ],
)
def test_queries_that_mean_the_same_are_cached_once(http, add, path, other):
    add(name="Green tea", category="Tea")
    responses = [http.get(each) for each in (path, other, path)]
    assert {response.status_code for response in responses} == {200}
    assert len({response.text for response in responses}) == 1
    generation = cache.catalogue().generation(cache.LISTS)
    with redis.Redis.from_url(server_url("REDIS")) as client:
        assert len(client.keys(f"cache:products:list:{generation}:*")) == 1
