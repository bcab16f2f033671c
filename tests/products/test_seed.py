"""The catalogue is seeded once, however often it is done."""

import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.products import seed
from services.products.models import Product
from tests.products.conftest import described

ROOT = Path(__file__).parents[2]


def lines(*products):
    return [json.dumps(product) + "\n" for product in products]


def test_the_catalogue_is_added_once(products, http, capsys):
    expected = len(seed.CATALOGUE.read_text(encoding="utf-8").splitlines())
    for added in (expected, 0):
        seed.main()
        # Other tests' threads may log into what is captured here.
        printed = capsys.readouterr().out.splitlines()[-1]
        assert printed == f"{added} products added, {expected} in the catalogue."
    shown = http.get("/products/?limit=100").json["items"]
    assert len(shown) == 100
    for product in shown:
        assert http.get(f"/products/{product['id']}").json == product


def test_what_staff_changed_stays_changed(http, staff):
    first, second = described(sku="K-1"), described(sku="K-2")
    assert seed.seed(lines(first)) == 1
    (there,) = http.get("/products/").json["items"]
    http.put(f"/products/{there['id']}", json=described(sku="K-1", name="Dented kettle"), headers=staff)
    http.delete(f"/products/{there['id']}", headers=staff)
    assert seed.seed(lines(first, second)) == 1
    kept = Product.objects.get(sku="K-1")
    assert (kept.name, kept.is_active) == ("Dented kettle", False)


def test_two_seeds_at_once_add_each_product_once(products):
    catalogue = lines(*(described(sku=f"K-{number}") for number in range(60)))
    with ThreadPoolExecutor(4) as pool:
        added = list(pool.map(seed.seed, [catalogue] * 4))
    assert sum(added) == Product.objects.count() == 60


@pytest.mark.parametrize("wrong", ['{"sku": "K-9"', json.dumps(described(price="cheap")), "[]"])
def test_a_line_that_is_no_product_is_named_and_nothing_is_added(products, wrong):
    with pytest.raises(SystemExit, match=r"^Line 2: "):
        seed.seed([*lines(described()), wrong])
    assert Product.objects.count() == 0


def test_an_empty_catalogue_adds_nothing(products):
    assert seed.seed(["\n"]) == 0


def test_without_a_database_the_seed_says_so_in_one_line():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"mongodb://127.0.0.1:{nobody.getsockname()[1]}/products"
        arguments = [sys.executable, "-m", "services.products.seed"]
        environment = {**os.environ, "SOUK_MONGO_URL": url}
        done = subprocess.run(
            arguments, cwd=ROOT, env=environment, capture_output=True, timeout=60, check=False, text=True
        )
    assert done.returncode == 1
    assert done.stderr.startswith("MongoDB does not answer")
    assert done.stderr.count("\n") == 1
