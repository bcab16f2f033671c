"""The catalogue of a new installation reads like a real shop's, and every product can be sold."""

import json
import re
import unicodedata
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

import services.products

FIELDS = {"sku", "name", "description", "category", "price", "currency", "stock_quantity"}
LINES = (Path(services.products.__file__).parent / "catalogue.jsonl").read_bytes().decode("utf-8").split("\n")
PRODUCTS = [json.loads(line) for line in LINES[:-1]]


def words(product):
    return set(re.findall(r"\w+", product["description"].lower()))


def test_the_file_has_one_object_per_line_and_a_final_newline():
    assert LINES[-1] == ""
    assert not [line for line in LINES if line != line.strip()]
    assert {frozenset(product) for product in PRODUCTS} == {frozenset(FIELDS)}


def test_the_shop_is_large_and_varied():
    categories = Counter(product["category"] for product in PRODUCTS)
    assert len(PRODUCTS) >= 240
    assert len(categories) >= 12
    assert min(categories.values()) >= 10


@pytest.mark.parametrize("field", ["sku", "name", "description"])
def test_the_field_is_unique(field):
    assert [value for value, times in Counter(p[field].casefold() for p in PRODUCTS).items() if times > 1] == []


FORMATS = {
    "sku": r"[A-Z]{3}-\d{4}",
    "name": r"\S.{2,59}",
    "description": r"\S.{40,400}\.",
    "category": r"[a-z]+(-[a-z]+)*",
    "price": r"[1-9]\d{0,3}\.\d\d",
    "currency": r"EUR",
}


@pytest.mark.parametrize("field", FORMATS)
def test_every_product_has_the_field_in_its_format(field):
    assert [p["sku"] for p in PRODUCTS if not re.fullmatch(FORMATS[field], p[field])] == []


def test_every_product_is_in_stock():
    assert {type(product["stock_quantity"]) for product in PRODUCTS} == {int}
    assert all(5 <= product["stock_quantity"] <= 400 for product in PRODUCTS)


def test_texts_are_normalized_and_printable():
    for product in PRODUCTS:
        text = product["name"] + " " + product["description"]
        assert text == unicodedata.normalize("NFC", text)
        assert "  " not in text
        assert text.isprintable()


def test_descriptions_differ_in_most_words():
    alike = [
        (one["sku"], other["sku"])
        for one, other in combinations(PRODUCTS, 2)
        if len(words(one) & words(other)) > 0.5 * min(len(words(one)), len(words(other)))
    ]
    assert alike == []


def test_the_prefix_of_a_sku_is_its_categorys():
    prefixes = {(product["sku"][:3], product["category"]) for product in PRODUCTS}
    assert len(prefixes) == len({prefix for prefix, _ in prefixes}) == len({category for _, category in prefixes})
