"""Search as customers see it."""

import base64
import json
from decimal import Decimal
from uuid import uuid4

import pytest

from services.products import changes
from services.products.models import Product
from services.products.search.filters import FIELDS
from tests.products.test_listing import pages


def found(http, q="", **query):
    response = http.get("/products/search", query_string={"q": q, **query})
    assert response.status_code == 200, response.text
    return response.json


def names(page):
    return [one["name"] for one in page["items"]]


@pytest.mark.parametrize(
    "typed", ["kettle", "KETTLE", "kettles", "kett", "ketle", "ketlte", "copper kettle", "kettle copper", "the kettle"]
)
def test_a_product_is_found_by_its_name(http, add, typed):
    add(name="Copper Kettle")
    add(name="Silk scarf")
    assert names(found(http, typed)) == ["Copper Kettle"]


@pytest.mark.parametrize("typed", ["CAFÉ", "cafe", "litre", "K-17", "brewing"])
def test_case_accents_descriptions_skus_and_categories_count(http, add, typed):
    add(name="Café cup", description="Holds a litre.", sku="K-17", category="brewing")
    add(name="Silk scarf", description="Ends in fringes.", category="textiles")
    assert names(found(http, typed)) == ["Café cup"]


@pytest.mark.parametrize(
    "typed", ["zzzz", "!!", "\U0001f980", "the", '"', "NOT", "a OR", "{name} :", "kettle*zzz " * 9]
)
def test_a_query_without_matches_finds_nothing(http, add, typed):
    add(name="Silk scarf", description="Fringes.")
    assert found(http, typed)["items"] == []


def test_a_word_in_the_name_comes_before_one_in_the_description(http, add):
    add(name="Scarf", description="Goes with any kettle.")
    add(name="Kettle with a lid and a cloth")
    add(name="Kettle")
    assert names(found(http, "kettle")) == ["Kettle", "Kettle with a lid and a cloth", "Scarf"]


def test_an_exact_word_comes_before_its_completions(http, add):
    for name in ("Teapot", "Tea", "Teak tray"):
        add(name=name, description="")
    assert names(found(http, "tea"))[0] == "Tea"
    assert set(names(found(http, "tea"))) == {"Teapot", "Tea", "Teak tray"}


def test_products_with_some_of_the_words_are_found_where_none_has_all(http, add):
    add(name="Copper kettle")
    add(name="Tin kettle")
    assert names(found(http, "copper kettle"))[0] == "Copper kettle"
    assert names(found(http, "golden kettle with unicorns copper"))[0] == "Copper kettle"


def test_a_typo_is_corrected_and_reported(http, add):
    add(name="Copper kettle")
    assert found(http, "coper kettle")["corrected"] == "copper kettle"
    assert found(http, "copper kettle")["corrected"] is None


def test_numbers_are_not_corrected(http, add):
    add(name="Kettle", sku="K-123456")
    assert names(found(http, "123456")) == names(found(http, "12345")) == ["Kettle"]
    assert names(found(http, "123457")) == []


def test_a_changed_name_is_found_and_the_old_one_is_not(http, add, staff):
    made = add(name="Kettle", description="")
    body = {key: made[key] for key in ("sku", "description", "category", "price", "currency")}
    http.put(f"/products/{made['id']}", json={**body, "name": "Scarf"}, headers=staff)
    assert names(found(http, "scarf")) == ["Scarf"]
    assert names(found(http, "kettle")) == []


@pytest.fixture
def shop(add):
    """Five kettles of two categories, at rising prices."""
    return [
        add(name=f"Kettle {letter}", category=category, price=price, stock_quantity=stock)
        for letter, category, price, stock in [
            ("e", "tin", "5.00", 1),
            ("d", "tin", "10.00", 0),
            ("c", "copper", "20.00", 1),
            ("b", "copper", "30.00", 0),
            ("a", "copper", "300.00", 1),
        ]
    ]


FILTERS = [
    ({}, "abcde"),
    ({"category": "tin"}, "de"),
    ({"category": "nowhere"}, ""),
    ({"min_price": "10"}, "abcd"),
    ({"max_price": "10.00"}, "de"),
    ({"min_price": "10", "max_price": "30"}, "bcd"),
    ({"in_stock": "true"}, "ace"),
    ({"in_stock": "false", "category": "copper"}, "b"),
]


@pytest.mark.parametrize(("query", "letters"), FILTERS)
@pytest.mark.parametrize("path", ["/products/", "/products/search", "/products/search?q=kettle"])
def test_filters_narrow_lists_and_searches(http, shop, path, query, letters):
    path, _, q = path.partition("?q=")
    shown, _ = pages(http, path, limit=2, **query, **({"q": q} if q else {}))
    assert sorted(one["name"][-1] for one in shown) == list(letters)


@pytest.mark.parametrize("q", [{}, {"q": "kettle"}])
@pytest.mark.parametrize("sort", FIELDS)
def test_each_order_gives_every_product_once_and_in_order(http, shop, q, sort):
    shown, turned = pages(http, "/products/search", limit=2, sort=sort, **q)
    assert turned == 3
    assert {one["id"] for one in shown} == {one["id"] for one in shop}
    keys = {"newest": "created_at", "popular": "id"}
    values = [Decimal(one["price"]) if "price" in sort else one[keys.get(sort, "name")] for one in shown]
    assert values == sorted(values, reverse=FIELDS[sort][1])


def test_best_sellers_are_popular(http, shop, products):
    for sold, each in enumerate(shop):
        Product.objects(id=each["id"]).update_one(
            set__sold_quantity=sold, inc__version=1, set__updated_at=each["updated_at"]
        )
    changes.publish([])
    assert names(found(http, "kettle", sort="popular")) == [one["name"] for one in reversed(shop)]


@pytest.mark.parametrize("q", ["", "kettle"])
def test_facets_count_without_their_own_filter(http, shop, q):
    facets = found(http, q, category="copper", min_price="20")["facets"]
    assert facets["categories"] == [{"category": "copper", "products": 3}]
    assert facets["prices"] == [
        {"min_price": "10", "max_price": "25", "products": 1},
        {"min_price": "25", "max_price": "50", "products": 1},
        {"min_price": "250", "max_price": None, "products": 1},
    ]
    assert facets["stock"] == {"in_stock": 2, "out_of_stock": 1}
    assert facets["is_complete"] is True
    assert found(http, q, in_stock="true")["facets"]["stock"] == {"in_stock": 3, "out_of_stock": 2}


def test_the_pages_of_a_search_stay_right_while_the_catalogue_changes(http, add, staff):
    made = [add(name=f"Kettle number {number}", description="") for number in range(6)]
    first = found(http, "ketle", limit=3)
    # A better match comes, a shown and an unshown product go, and the typo becomes a word.
    add(name="Kettle", description="")
    add(name="Ketle", description="")
    seen = {one["id"] for one in first["items"]}
    unseen = [one for one in made if one["id"] not in seen]
    http.delete(f"/products/{first['items'][0]['id']}", headers=staff)
    http.delete(f"/products/{unseen[0]['id']}", headers=staff)
    second = found(http, "ketle", limit=3, cursor=first["next"])
    assert {one["id"] for one in second["items"]} == {one["id"] for one in unseen[1:]}
    assert (second["next"], second["facets"]) == (None, None)


def cursor(*values):
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode()


FORGED_QUERIES = [
    "",
    "[]",
    "{}",
    "7",
    '[[1,[["a b",1]]]]',
    '[[1,[["a",2]]]]',
    "[[1,[]]]",
    '[["x",[["a",1]]]]',
    json.dumps([[1, [["a", 1]]]] * 7),
    json.dumps([[1, [["a", 1]] * 9]]),
    "[" * 5_000,
]


@pytest.mark.parametrize("query", FORGED_QUERIES)
def test_a_forged_query_in_a_cursor_is_refused(http, products, query):
    wrong = cursor("relevance", "100", str(uuid4()), query)
    response = http.get("/products/search", query_string={"q": "kettle", "cursor": wrong})
    assert response.status_code == 422, response.text
    assert response.json["errors"][0]["field"] == "cursor"


@pytest.mark.parametrize("value", ["-1", "x", "1" * 30, ""])
def test_a_forged_place_in_a_cursor_is_refused(http, products, value):
    for order in ("relevance", "popular", "price"):
        wrong = cursor(order, value, str(uuid4()), '[[1,[["a",1]]]]')
        response = http.get("/products/search", query_string={"q": "kettle", "sort": order, "cursor": wrong})
        assert response.status_code == 422, response.text


def test_only_staff_find_what_is_off_sale(http, add, staff, customer):
    add(name="Kettle in the shop")
    gone = add(name="Kettle in the attic")
    http.delete(f"/products/{gone['id']}", headers=staff)
    for path in ("/products/", "/products/search?q=kettle"):
        assert names(http.get(path).json) == ["Kettle in the shop"]
        joint = "&" if "?" in path else "?"
        assert names(http.get(f"{path}{joint}active=no", headers=staff).json) == ["Kettle in the attic"]
        assert len(http.get(f"{path}{joint}active=all", headers=staff).json["items"]) == 2
        for headers in ({}, customer):
            assert http.get(f"{path}{joint}active=all", headers=headers).status_code == 403


@pytest.mark.parametrize(
    ("field", "value"), [("q", "x" * 201), ("sort", "best"), ("min_price", "-1"), ("max_price", "x"), ("in_stock", "7")]
)
def test_an_invalid_parameter_is_named(http, products, field, value):
    response = http.get("/products/search", query_string={field: value})
    assert response.status_code == 422
    assert [wrong["field"] for wrong in response.json["errors"]] == [field]


def test_sorting_by_relevance_needs_words(http, products):
    assert http.get("/products/search?sort=relevance").status_code == 422
