"""What operators run, as programs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.products.bulk import files
from services.products.models import Product

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(products, tmp_path):
    """Runs one command on this service's database."""
    settings = {"SOUK_MONGO_URL": products.settings.mongo_url, "SOUK_SEARCH_DIRECTORY": str(tmp_path / "search")}

    def ran(*arguments):
        command = [sys.executable, "-m", "services.products.commands", *map(str, arguments)]
        return subprocess.run(
            command, cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True, timeout=60, check=False
        )

    return ran


def test_a_seeded_catalogue_is_exported_imported_and_audited(run, tmp_path):
    count = len(files.CATALOGUE.read_text(encoding="utf-8").splitlines())
    assert run("seed").stdout.splitlines()[-1] == f"{count} products added, {count} in the catalogue."
    exported = run("export", tmp_path / "all.csv")
    assert (exported.returncode, json.loads(exported.stdout)) == (0, {"exported": count})
    imported = run("import", tmp_path / "all.csv")
    assert (imported.returncode, json.loads(imported.stdout.splitlines()[-1])["unchanged"]) == (0, count)
    audited = run("audit")
    assert (audited.returncode, audited.stdout.splitlines()[-1]) == (0, "Balanced.")


def test_a_refused_row_and_a_difference_end_a_command_with_1(run, stocked, tmp_path):
    stocked(5)
    Product.objects.update(inc__stock_quantity=1)
    audited = run("audit")
    assert (audited.returncode, audited.stdout.splitlines()[-1]) == (1, "2 differences; nothing was changed.")
    (tmp_path / "wrong.jsonl").write_text("{}\n", encoding="utf-8")
    assert run("import", tmp_path / "wrong.jsonl").returncode == 1
