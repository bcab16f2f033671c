"""The lists of `./souk mutants` name what exists."""

from fnmatch import fnmatchcase

import pytest
import yaml

from tests.mutants.__main__ import EQUIVALENT, FILES, ROOT


@pytest.mark.parametrize("file", FILES)
def test_a_file_of_the_core_and_its_tests_exist(file: str) -> None:
    assert [path for path in (file, *FILES[file]) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("mutant", EQUIVALENT, ids=lambda mutant: f"{mutant['file']}: {mutant['after']}")
def test_an_equivalent_mistake_has_its_line_and_a_reason(mutant: dict[str, str]) -> None:
    files = [file for file in FILES if fnmatchcase(file, mutant["file"])]
    lines = [line.strip() for file in files for line in (ROOT / file).read_text().splitlines()]
    assert any(fnmatchcase(line, mutant["before"]) for line in lines)
    assert mutant["reason"]


def test_the_weekly_workflow_runs_the_command() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/mutants.yml").read_text())
    assert {"schedule", "workflow_dispatch"} == workflow[True].keys(), "YAML reads `on` as true"
    steps = workflow["jobs"]["mutants"]["steps"]
    assert [step["run"].split()[:2] for step in steps if "souk" in step.get("run", "")] == [["./souk", "mutants"]]
