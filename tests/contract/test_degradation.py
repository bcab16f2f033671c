"""Each row of docs/degradation.md and docs/security.md, and each promise of docs/mesh.md, names an existing test."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = [
    line
    for document in ("docs/degradation.md", "docs/security.md")
    for line in (ROOT / document).read_text().splitlines()
    if line.startswith("| ") and not line.endswith("| test |")
]
ROWS += [line for line in (ROOT / "docs/mesh.md").read_text().splitlines() if "| `tests/" in line]


@pytest.mark.parametrize("row", ROWS)
def test_each_row_names_a_test_that_exists(row: str) -> None:
    found = re.fullmatch(r"`(tests/[\w/]+\.py)::(test_\w+)`", row.rstrip(" |").rpartition("| ")[2])
    assert found is not None, row
    file, name = found.groups()
    functions = {
        node.name for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.FunctionDef)
    }
    assert name in functions


def test_the_document_has_rows() -> None:
    assert len(ROWS) > 10
