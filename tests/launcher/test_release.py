"""Releases: their notes, their workflow, and the commands that it calls."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from typer.core import TyperGroup
from typer.testing import CliRunner

import launcher.commands  # noqa: F401 - importing registers them
from launcher import release
from launcher.cli import app
from launcher.errors import LaunchError
from launcher.go import Module
from launcher.kubernetes.chart import CHART
from launcher.progress import Progress
from launcher.state import REPOSITORY
from operators.canary.verdict import Limits

WORKFLOWS = sorted((REPOSITORY / ".github/workflows").glob("*.yml"))
ACTIONLINT = Module("workflows", "actionlint", REPOSITORY / ".github/tools")
BUILD_SECONDS = 900


def lines() -> Iterator[list[str]]:
    """What workflows run of ours."""
    for workflow in WORKFLOWS:
        for job in yaml.safe_load(workflow.read_text())["jobs"].values():
            for step in job["steps"]:
                if step.get("run", "").startswith("./souk "):
                    yield step["run"].split()[1:]


def command(words: list[str]) -> Any:
    found: Any = typer.main.get_command(app)
    for word in words:
        if not isinstance(found, TyperGroup):
            break
        found = found.commands[word]
    return found


@pytest.mark.timeout(BUILD_SECONDS)
def test_workflows_are_valid() -> None:
    if not shutil.which("go"):
        pytest.skip("WORKFLOWS ARE NOT CHECKED: there is no Go, which builds actionlint")
    with ACTIONLINT.built(["github.com/rhysd/actionlint/cmd/actionlint"], Progress()) as folder:
        outcome = subprocess.run(
            [folder / "actionlint", "-shellcheck=", "-pyflakes=", *WORKFLOWS],
            capture_output=True,
            text=True,
            check=False,
        )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_workflows_call_commands_that_exist() -> None:
    called = list(lines())
    assert {words[0] for words in called} >= {"test", "check"}
    assert {" ".join(words[:2]) for words in called} >= {"release image", "release chart", "release deploy"}
    for words in called:
        found = command(words)
        options = {option for each in found.params for option in each.opts}
        assert found.context_settings or {word for word in words if word.startswith("--")} <= options, words


def test_each_stage_has_values_and_a_job() -> None:
    deployed = [words[2] for words in lines() if words[:2] == ["release", "deploy"]]
    assert deployed == list(release.STAGES)
    assert all((CHART / "values" / f"{name}.yaml").exists() for names in release.STAGES.values() for name in names)


def test_production_is_released_by_canaries_which_get_the_time_they_may_take() -> None:
    assert ["release", "deploy", "production", '"$IMAGE"', "--canary"] in lines()
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/release.yml").read_text())
    assert timedelta(minutes=workflow["jobs"]["production"]["timeout-minutes"]) > release.longest()
    # Of GitHub's own machines.
    assert release.longest() < timedelta(hours=6)


def test_the_limits_of_a_canary_are_those_that_its_time_is_counted_with() -> None:
    [crd] = [
        each
        for each in yaml.safe_load_all((CHART / "crds/operators.yaml").read_text())
        if each["spec"]["names"]["kind"] == "Canary"
    ]
    [version] = crd["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    default = {name: each["default"] for name, each in spec["limits"]["properties"].items()}
    assert {"failures": Limits.failures, "inconclusive": Limits.inconclusive, "errors": Limits.errors}.items() <= (
        default.items()
    )


def test_the_notes_of_this_version_are_its_section_of_the_changelog() -> None:
    outcome = CliRunner().invoke(app, ["release", "notes", f"v{release.version()}"])
    assert outcome.exit_code == 0
    assert outcome.stdout.strip()
    assert outcome.stdout in release.CHANGELOG.read_text()
    assert not re.search(r"^#", outcome.stdout, re.MULTILINE)


def test_a_tag_of_another_version_is_refused() -> None:
    outcome = CliRunner().invoke(app, ["release", "notes", "v9.9.9"])
    assert outcome.exit_code == 1
    assert "Versions differ: the tag 9.9.9" in outcome.stderr


def test_a_version_without_notes_is_refused() -> None:
    with pytest.raises(LaunchError, match=r"CHANGELOG\.md has no section 0\.2\.0"):
        release.notes("0.2.0", "# Changelog\n\n## 0.1.0\n\n- First.\n")


def test_the_image_is_for_both_architectures_with_sbom_and_provenance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a program that writes down what Docker would be asked."""
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert CliRunner().invoke(app, ["release", "image", "registry.example/souk:v1"]).exit_code == 0
    services, operators = [set(line.split()) for line in (tmp_path / "asked").read_text().splitlines()]
    for asked, name in ((services, "registry.example/souk:v1"), (operators, "registry.example/souk:v1-operators")):
        assert {"--platform=linux/amd64,linux/arm64", "--sbom=true", "--push", f"--tag={name}"} <= asked
    assert operators - services >= {"--build-arg=LOCK=operators.lock"}


def test_the_chart_is_packaged(tmp_path: Path) -> None:
    if not (shutil.which("helm") or shutil.which("go")):
        pytest.skip("THE CHART IS NOT PACKAGED: there is neither Helm nor Go, which builds it")
    package = release.push_chart("", tmp_path, Progress())
    assert package.name == f"souk-{release.version()}.tgz"
    assert package.stat().st_size > 10_000
