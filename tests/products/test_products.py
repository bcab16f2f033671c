"""Products as customers read and staff change them."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from chassis.run.testing import bearer
from chassis.storage import store
from services.products.models import Product
from tests.products.conftest import described


def test_customers_can_read_what_staff_add(http, add, customer):
    made = add(sku="K-1", name="  Copper kettle ", price="12.5", stock_quantity=7)
    shown = http.get(f"/products/{made['id']}", headers=customer).json
    assert shown == made
    assert shown["name"] == "Copper kettle"
    assert (shown["price"], shown["currency"], shown["stock_quantity"]) == ("12.50", "EUR", 7)
    assert http.get(f"/products/{made['id']}").json == made


def test_the_location_leads_to_the_new_product(http, staff):
    response = http.post("/products/", json=described(), headers=staff)
    assert http.get(response.headers["Location"]).json == response.json


@pytest.mark.parametrize("price", ["0.01", "0.1", "19.99", "99999999.99"])
def test_a_price_is_exact_to_the_cent(http, add, price):
    shown = http.get(f"/products/{add(price=price)['id']}").json["price"]
    assert (float(shown), shown[-3]) == (float(price), ".")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("price", "0.00"),
        ("price", "-1.00"),
        ("price", "0.001"),
        ("price", "100000000.00"),
        ("price", "NaN"),
        ("price", "cheap"),
        ("price", None),
        ("name", " "),
        ("name", "x" * 201),
        ("sku", "two words"),
        ("sku", ""),
        ("category", ""),
        ("currency", "euro"),
        ("currency", "JPY"),
        ("currency", "KWD"),
        ("currency", "XXX"),
        ("currency", "ZZZ"),
        ("price", "12.50\n"),
        ("sku", "K-1\n"),
        ("name", "Cup\nof tea"),
        ("name", "\u202epuC"),
        ("name", "Cup\u200d"),
        ("name", "Cup\U000e0041"),
        ("category", "a\u2028b"),
        ("category", "a\u2029b"),
        ("category", "a\u0085b"),
        ("stock_quantity", -1),
        ("stock_quantity", 1.5),
        ("stock_quantity", "7"),
        ("description", "x" * 5_001),
        ("colour", "red"),
    ],
)
def test_an_invalid_field_is_named(http, staff, field, value):
    response = http.post("/products/", json=described(**{field: value}), headers=staff)
    assert response.status_code == 422
    assert response.content_type == "application/problem+json"
    assert {wrong["field"] for wrong in response.json["errors"]} == {field}


@pytest.mark.parametrize("sku", ["K-1", "k-1"])
def test_a_sku_belongs_to_one_product_in_any_case(http, add, staff, sku):
    add(sku="K-1")
    other = add(sku="K-2")
    added = http.post("/products/", json=described(sku=sku), headers=staff)
    changed = http.put(f"/products/{other['id']}", json=described(sku=sku), headers=staff)
    for response in (added, changed):
        assert response.status_code == 409
        assert [wrong["field"] for wrong in response.json["errors"]] == ["sku"]
    assert http.get(f"/products/{other['id']}").json == other


def test_a_currency_not_counted_in_hundredths_is_refused_by_name(http, staff):
    response = http.post("/products/", json=described(currency="JPY"), headers=staff)
    assert response.json["errors"] == [
        {"field": "currency", "message": "must not be JPY, which is not counted in hundredths as all amounts here are"}
    ]


def test_products_of_an_earlier_release_get_a_key_for_their_sku(add, products):
    collection = Product._get_collection()
    ids = [add(sku=sku)["id"] for sku in ("K-1", "other")]
    collection.update_many({}, {"$unset": {"sku_key": ""}})
    collection.update_one({"_id": ids[1]}, {"$set": {"sku": "k-1"}})
    with store.active(products.store):
        Product.ensure_indexes()
    assert sorted(each["sku_key"].split(" ")[0] for each in collection.find()) == ["k-1", "k-1"]


def test_twenty_concurrent_requests_with_one_sku_add_one_product(http, staff):
    client = http.application.test_client
    body = described()
    with ThreadPoolExecutor(8) as pool:
        tried = [pool.submit(lambda: client().post("/products/", json=body, headers=staff)) for _ in range(20)]
    assert sorted(response.result().status_code for response in tried) == [201] + [409] * 19


def test_a_repeated_request_adds_one_product(http, staff):
    headers = {**staff, "Idempotency-Key": "monday-1"}
    body = described()
    with ThreadPoolExecutor(8) as pool:
        client = http.application.test_client
        tried = [pool.submit(lambda: client().post("/products/", json=body, headers=headers)) for _ in range(20)]
    responses = [response.result() for response in tried]
    assert {response.status_code for response in responses} == {201}
    assert len({response.json["id"] for response in responses}) == 1
    assert len(http.get("/products/").json["items"]) == 1


def test_a_key_belongs_to_its_request_and_its_caller(http, staff, products):
    headers = {**staff, "Idempotency-Key": "monday-1"}
    first = http.post("/products/", json=described(), headers=headers)
    other_body = http.post("/products/", json=described(), headers=headers)
    assert other_body.status_code == 422
    assert other_body.json["type"] == "/problems/idempotency-key-reused"
    colleague = {**bearer(products, uuid4(), "staff"), "Idempotency-Key": "monday-1"}
    theirs = http.post("/products/", json=described(), headers=colleague)
    assert theirs.status_code == 201
    assert theirs.json["id"] != first.json["id"]
    assert http.post("/products/", json=described(), headers={**staff, "Idempotency-Key": ""}).status_code == 400


def test_put_replaces_the_description_but_not_the_stock(http, add, staff):
    made = add(stock_quantity=7)
    body = described(sku=made["sku"], name="Tin kettle", price="9.00", category="camping")
    response = http.put(f"/products/{made['id']}", json=body, headers=staff)
    assert response.status_code == 200
    assert http.get(f"/products/{made['id']}").json == response.json
    assert response.json == {
        **made,
        **body,
        "version": 2,
        "updated_at": response.json["updated_at"],
    }
    assert response.json["updated_at"] >= made["updated_at"]


def test_a_change_applies_only_to_the_version_its_caller_saw(http, add, staff):
    made = add()
    path = f"/products/{made['id']}"
    seen = http.get(path).headers["ETag"]
    first = http.put(path, json=described(name="Mine"), headers={**staff, "If-Match": seen})
    late = http.put(path, json=described(name="Too late"), headers={**staff, "If-Match": seen})
    assert (first.status_code, late.status_code) == (200, 412)
    assert late.json["version"] == 2
    assert http.delete(path, headers={**staff, "If-Match": seen}).status_code == 412
    assert http.get(path).json["name"] == "Mine"
    now = first.headers["ETag"]
    for condition in (f'"1", {now}', "*"):
        again = http.put(path, json=described(), headers={**staff, "If-Match": condition})
        assert again.status_code == 200
        now = again.headers["ETag"]


@pytest.mark.parametrize("condition", ['"abc"', 'W/"1"', '"-1"', '"٣"', f'"{"9" * 30}"', "nonsense", ""])
def test_a_condition_without_a_valid_version_fails(http, add, staff, condition):
    path = f"/products/{add()['id']}"
    assert http.put(path, json=described(), headers={**staff, "If-Match": condition.encode()}).status_code == 412


def test_of_concurrent_changes_to_one_version_one_succeeds(http, add, staff):
    path = f"/products/{add()['id']}"
    headers = {**staff, "If-Match": '"1"'}
    client = http.application.test_client
    with ThreadPoolExecutor(8) as pool:
        tried = [pool.submit(lambda: client().put(path, json=described(), headers=headers)) for _ in range(10)]
    assert sorted(response.result().status_code for response in tried) == [200] + [412] * 9


def test_counted_stock_needs_the_version_it_was_counted_at(http, add, staff):
    made = add(stock_quantity=7)
    path = f"/products/{made['id']}"
    counted = described(stock_quantity=9)
    assert http.put(path, json=counted, headers=staff).status_code == 428
    assert http.put(path, json=counted, headers={**staff, "If-Match": "*"}).status_code == 428
    assert http.put(path, json=counted, headers={**staff, "If-Match": '"1"'}).json["stock_quantity"] == 9


def test_a_reader_with_the_current_version_gets_304(http, add):
    path = f"/products/{add()['id']}"
    etag = http.get(path).headers["ETag"]
    assert http.get(path, headers={"If-None-Match": etag}).status_code == 304
    assert http.get(path, headers={"If-None-Match": '"0"'}).status_code == 200


def test_only_staff_see_what_is_off_sale(http, add, staff, customer):
    made = add()
    path = f"/products/{made['id']}"
    assert http.delete(path, headers=staff).status_code == 204
    assert http.delete(path, headers=staff).status_code == 204
    assert http.get(path, headers=customer).status_code == 404
    assert http.get(path).status_code == 404
    assert http.get("/products/").json["items"] == []
    assert http.get(path, headers=staff).json["is_active"] is False
    assert http.put(path, json=described(is_active=True), headers=staff).json["is_active"] is True
    assert http.get(path, headers=customer).status_code == 200


@pytest.mark.parametrize("method", ["get", "put", "delete"])
def test_an_unknown_product_is_not_found(http, add, staff, method):
    body = {"json": described()} if method == "put" else {}
    response = getattr(http, method)(f"/products/{uuid4()}", headers=staff, **body)
    assert response.status_code == 404
    assert response.content_type == "application/problem+json"


def test_only_staff_change_the_catalogue(http, add, customer):
    path = f"/products/{add()['id']}"
    for headers, status in ((customer, 403), ({}, 401), ({"X-API-Key": "orders-key"}, 403)):
        assert http.post("/products/", json=described(), headers=headers).status_code == status
        assert http.put(path, json=described(), headers=headers).status_code == status
        assert http.delete(path, headers=headers).status_code == status
