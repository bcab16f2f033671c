"""Search ranks first what a person would expect, on the catalogue that every installation is seeded with."""

import pytest

from services.products import changes
from services.products.bulk import files
from tests.products.searches import SEARCHES

MIN = 0.9


@pytest.fixture
def seeded(products, http):
    files.seed()
    changes.publish([])


def test_the_expected_product_comes_first(seeded, http, capsys):
    reciprocals = {}
    for text, expected in SEARCHES.items():
        found = [
            one["sku"] for one in http.get("/products/search", query_string={"q": text, "limit": 10}).json["items"]
        ]
        ranks = [rank for rank, sku in enumerate(found, start=1) if sku in expected]
        reciprocals[text] = 1 / ranks[0] if ranks else 0.0
    mean = sum(reciprocals.values()) / len(reciprocals)
    with capsys.disabled():
        missed = ", ".join(f"{text!r} {value:.2f}" for text, value in reciprocals.items() if value < 1)
        print(f"\nmean reciprocal rank of {len(SEARCHES)} searches: {mean:.3f}; not first: {missed or 'none'}")
    assert len(SEARCHES) >= 40
    assert mean >= MIN
