"""skaffold.yaml, Tiltfile and kind.yaml: every path, image, value and workload in them exists."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import starlark
import yaml

from launcher.kubernetes.chart import CHART
from launcher.kubernetes.helm import Helm
from launcher.kubernetes.images import CODE
from launcher.state import REPOSITORY
from tests.chart.conftest import KIND, Render, of, pods

SKAFFOLD = yaml.safe_load((REPOSITORY / "skaffold.yaml").read_text())
RELEASE = SKAFFOLD["deploy"]["helm"]["releases"][0]


def known(path: str) -> bool:
    """Whether values.yaml has such a value."""
    found: Any = yaml.safe_load((CHART / "values.yaml").read_text())
    for part in path.split("."):
        if part not in found:
            return False
        found = found[part]
    return True


def test_skaffold_has_its_own_schemas_form() -> None:
    """Skaffold publishes it; name a copy in SKAFFOLD_SCHEMA."""
    schema = os.environ.get("SKAFFOLD_SCHEMA")
    if not schema:
        pytest.skip("SKAFFOLD_SCHEMA names no copy of skaffold's schema v4beta13")
    jsonschema_rs.validate(json.loads(Path(schema).read_text()), SKAFFOLD)


def test_skaffold_builds_and_deploys_what_exists(render: Render) -> None:
    [artifact] = SKAFFOLD["build"]["artifacts"]
    assert (REPOSITORY / artifact["context"] / artifact["docker"]["dockerfile"]).exists()
    assert REPOSITORY / RELEASE["chartPath"] == CHART
    images = {f"{{{{.IMAGE_FULLY_QUALIFIED_{artifact['image']}}}}}"}
    assert set(RELEASE["setValueTemplates"].values()) == images
    assert all(known(value) for value in RELEASE["setValueTemplates"])
    services = of(render(*KIND), "Service")
    for forward in SKAFFOLD["portForward"]:
        assert forward["port"] in {port["port"] for port in services[forward["resourceName"]]["spec"]["ports"]}


def test_skaffolds_profiles_change_what_is_there(run_helm: Helm) -> None:
    for profile in SKAFFOLD["profiles"]:
        for patch in profile["patches"]:
            *path, _ = [int(part) if part.isdigit() else part for part in patch["path"].split("/")[1:]]
            place: Any = SKAFFOLD
            for part in path:
                place = place[part]
        values = [patch["value"] for patch in profile["patches"] if patch["path"].endswith("valuesFiles")]
        files = [file for each in values or [RELEASE["valuesFiles"]] for file in each]
        sets = [patch["value"] for patch in profile["patches"] if patch["path"].endswith("setValues")]
        options = [f"--set={name}={value}" for each in sets for name, value in each.items()]
        run_helm("template", "souk", CHART, *(f"--values={REPOSITORY / file}" for file in files), *options)


@pytest.fixture(scope="module")
def tilt(run_helm: Helm) -> dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]]:
    """The Tiltfile's calls, by function."""
    calls: dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]] = {}

    def recording(name: str) -> Callable[..., str]:
        def record(*arguments: Any, **named: Any) -> str:
            calls.setdefault(name, []).append((arguments, named))
            return name

        return record

    def helm(path: str, name: str, namespace: str, values: list[str], set: list[str]) -> str:  # noqa: A002 - Tilt's
        files = [f"--values={REPOSITORY / file}" for file in values]
        return run_helm("template", name, REPOSITORY / path, *files, *(f"--set={each}" for each in set))

    module = starlark.Module()
    for name in (
        "version_settings",
        "allow_k8s_contexts",
        "docker_build",
        "k8s_yaml",
        "k8s_resource",
        "local_resource",
        "link",
    ):
        module.add_callable(name, recording(name))
    module.add_callable("helm", helm)
    module["TRIGGER_MODE_MANUAL"] = "manual"
    dialect = starlark.Dialect.extended()
    dialect.enable_top_level_stmt = True
    text = (REPOSITORY / "Tiltfile").read_text()
    starlark.eval(module, starlark.parse("Tiltfile", text, dialect), starlark.Globals.standard())
    return calls


def test_tilt_builds_the_image_that_it_deploys(tilt: dict[str, Any]) -> None:
    [((name, context), options)] = tilt["docker_build"]
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)
    for path in " ".join(copied).split():
        assert any(f"{path}/".startswith(f"{each}/") for each in options["only"]), path
    assert set(CODE) < set(options["only"])
    assert all((REPOSITORY / context / path).exists() for path in options["only"])
    [((deployed,), _)] = tilt["k8s_yaml"]
    deployments = of([each for each in yaml.safe_load_all(deployed) if each], "Deployment")
    for deployment in deployments.values():
        assert {each["image"] for each in deployment["spec"]["template"]["spec"]["containers"]} == {name}


def test_tilt_groups_every_program_and_server(tilt: dict[str, Any], render: Render) -> None:
    [((deployed,), _)] = tilt["k8s_yaml"]
    objects = [each for each in yaml.safe_load_all(deployed) if each]
    named = [arguments[0] for arguments, _ in tilt["k8s_resource"]]
    assert sorted(named) == sorted({*pods(objects)} - {*of(objects, "Job")})
    ports = {
        name: [port["containerPort"] for container in pod["spec"]["containers"] for port in container["ports"]]
        for name, pod in pods(objects).items()
        if name in named
    }
    for arguments, options in tilt["k8s_resource"]:
        for forward in options.get("port_forwards", []):
            assert int(forward.split(":")[1]) in ports[arguments[0]]


def test_tilts_buttons_run_commands_of_ours(tilt: dict[str, Any]) -> None:
    from launcher.__main__ import app

    commands = {each.name or each.callback.__name__ for each in app.registered_commands if each.callback}
    assert {arguments[1] for arguments, _ in tilt["local_resource"]} <= {f"./souk {name}" for name in commands}


def test_kinds_cluster_has_the_name_that_tilt_allows(tilt: dict[str, Any]) -> None:
    [((contexts,), _)] = tilt["allow_k8s_contexts"]
    kind = yaml.safe_load((REPOSITORY / "k8s" / "kind.yaml").read_text())
    assert f"kind-{kind['name']}" in contexts
