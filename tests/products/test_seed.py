"""Seeding the catalogue adds each product once."""

import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from chassis.base.problems import Invalid
from services.products import commands
from services.products.bulk import files
from services.products.models import Product
from tests.products.conftest import described

ROOT = Path(__file__).parents[2]


@pytest.fixture
def seed(tmp_path):
    """Seeds lines or products; gives how many products were added."""

    def written(*lines):
        file = tmp_path / f"{uuid4()}.jsonl"
        file.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
        return files.seed(file)

    return written


def test_the_catalogue_is_added_once(products, http, capsys):
    expected = len(files.CATALOGUE.read_text(encoding="utf-8").splitlines())
    for added in (expected, 0):
        commands.seed()
        # Threads of other tests may log into what is captured here.
        printed = capsys.readouterr().out.splitlines()[-1]
        assert printed == f"{added} products added, {expected} in the catalogue."
    shown = http.get("/products/?limit=100").json["items"]
    assert len(shown) == 100
    for product in shown:
        assert http.get(f"/products/{product['id']}").json == product


def test_changes_by_staff_are_kept(http, staff, seed):
    first, second = described(sku="K-1"), described(sku="K-2")
    assert seed(first) == 1
    (there,) = http.get("/products/").json["items"]
    http.put(f"/products/{there['id']}", json=described(sku="K-1", name="Dented kettle"), headers=staff)
    http.delete(f"/products/{there['id']}", headers=staff)
    assert seed(first, second) == 1
    kept = Product.objects.get(sku="K-1")
    assert (kept.name, kept.is_active) == ("Dented kettle", False)


def test_concurrent_seeds_add_each_product_once(products, seed):
    catalogue = [described(sku=f"K-{number}") for number in range(60)]
    with ThreadPoolExecutor(4) as pool:
        added = list(pool.map(lambda _: seed(*catalogue), range(4)))
    assert sum(added) == Product.objects.count() == 60


@pytest.mark.parametrize("wrong", ['{"sku": "K-9"', json.dumps(described(price="cheap")), "[]"])
def test_an_invalid_line_is_named_and_nothing_is_added(products, seed, wrong):
    with pytest.raises(Invalid, match=r"^Line 2: "):
        seed(described(), wrong)
    assert Product.objects.count() == 0


def test_an_empty_catalogue_adds_nothing(products, seed):
    assert seed("") == 0


def test_without_a_database_seeding_fails_with_one_line():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"mongodb://127.0.0.1:{unused.getsockname()[1]}/products"
        arguments = [sys.executable, "-m", "services.products.commands", "seed"]
        environment = {**os.environ, "SOUK_MONGO_URL": url}
        done = subprocess.run(
            arguments, cwd=ROOT, env=environment, capture_output=True, timeout=60, check=False, text=True
        )
    assert done.returncode == 1
    assert done.stderr.startswith("MongoDB is unavailable")
    assert done.stderr.count("\n") == 1
