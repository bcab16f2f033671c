"""The chart as Helm renders it."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from launcher.errors import LaunchError
from launcher.kubernetes import helm, place, secrets
from launcher.kubernetes.chart import CHART
from launcher.kubernetes.helm import Helm
from launcher.stack import Stack

Object = dict[str, Any]
Render = Callable[..., list[Object]]

KIND, PRODUCTION = ("values/kind.yaml",), ("values/production.yaml",)
DEVELOPMENT = ("values/kind.yaml+values/development.yaml",)
VARIANTS = [
    KIND,
    ("values/kind.yaml+values/cluster.yaml",),
    (*KIND, "discovery=kubernetes"),
    (*KIND, "edge=kong"),
    PRODUCTION,
    ("values/production.yaml+values/staging.yaml",),
    (*PRODUCTION, "edge=gateway"),
    (*PRODUCTION, "discovery=kubernetes"),
]


HELM_SECONDS = 1800
"""For its build, on a busy machine with an empty cache."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "run_helm" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(HELM_SECONDS))


@pytest.fixture(scope="session")
def run_helm() -> Helm:
    if not helm.is_available():
        pytest.skip("THE CHART IS NOT TESTED: there is neither Helm nor Go, which builds it")
    try:
        return Helm(helm.find())
    except LaunchError as error:
        pytest.skip(f"THE CHART IS NOT TESTED: {error} {' '.join(error.last_lines)}")


@pytest.fixture(scope="session")
def render(run_helm: Helm) -> Render:
    """The objects for files of values, joined by +, and --set options."""

    @cache
    def rendered(values: str, *options: str) -> list[Object]:
        given = [argument for option in options for argument in ("--set", option)]
        files = [f"--values={CHART / file}" for file in values.split("+")]
        text = run_helm("template", "souk", CHART, "--namespace=souk", *files, *given)
        return [each for each in yaml.safe_load_all(text) if each]

    return rendered


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """What `./souk chart secrets` has."""
    return place.stack(tmp_path_factory.mktemp("kubernetes"), {})


@pytest.fixture(scope="session")
def contents(stack: Stack) -> Mapping[str, Mapping[str, str]]:
    stack.services.keys.ensure()
    return secrets.contents(stack)


def of(objects: list[Object], kind: str) -> dict[str, Object]:
    """By name."""
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def pods(objects: list[Object]) -> dict[str, Object]:
    """The templates, by workload."""
    kinds = ("Deployment", "StatefulSet", "Job")
    return {each["metadata"]["name"]: each["spec"]["template"] for each in objects if each["kind"] in kinds}


def containers(pod: Object) -> list[Object]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def values(name: str) -> Any:
    return yaml.safe_load((Path(CHART) / name).read_text())
