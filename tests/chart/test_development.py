"""skaffold.yaml, Tiltfile and kind.yaml: every path, image, value and workload in them exists, and saved code goes where it runs."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import starlark
import yaml

from launcher.kubernetes import demo
from launcher.kubernetes.chart import CHART
from launcher.kubernetes.helm import Helm
from launcher.kubernetes.images import CODE
from launcher.state import REPOSITORY
from tests.chart.conftest import DEVELOPMENT, KIND, Object, Render, containers, of, pods
from tests.chart.test_image import COPIED

SKAFFOLD = yaml.safe_load((REPOSITORY / "skaffold.yaml").read_text())
RELEASE = SKAFFOLD["deploy"]["helm"]["releases"][0]

WORKDIR = "/app"


def reloading(objects: list[Object]) -> dict[str, list[str]]:
    """By program that starts again: after a change of what."""
    return {
        name: container["args"][4:]
        for name, pod in pods(objects).items()
        for container in pod["spec"]["containers"]
        if container.get("args", [])[:1] == ["watchfiles"]
    }


def deployed_by(tilt: dict[str, Any]) -> list[Object]:
    [((text,), _)] = tilt["k8s_yaml"]
    return [each for each in yaml.safe_load_all(text) if each]


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
        made = {artifact["image"] for artifact in SKAFFOLD["build"]["artifacts"]}
        made |= {each["value"]["image"] for each in profile["patches"] if each["path"] == "/build/artifacts/-"}
        chosen = []
        for patch in profile["patches"]:
            *path, last = [int(part) if part.isdigit() else part for part in patch["path"].split("/")[1:]]
            place: Any = SKAFFOLD
            for part in path:
                place = place[part]
            if path[-1] == "setValueTemplates":
                assert known(str(last))
                assert patch["value"] in {f"{{{{.IMAGE_FULLY_QUALIFIED_{each.replace('-', '_')}}}}}" for each in made}
                chosen.append(f"--set={last}=souk:1")
        values = [patch["value"] for patch in profile["patches"] if patch["path"].endswith("valuesFiles")]
        files = [file for each in values or [RELEASE["valuesFiles"]] for file in each]
        run_helm("template", "souk", CHART, *(f"--values={REPOSITORY / file}" for file in files), *chosen)


def test_skaffold_dev_copies_all_code_that_programs_run(render: Render) -> None:
    [profile] = [each for each in SKAFFOLD["profiles"] if each.get("activation") == [{"command": "dev"}]]
    added = {patch["path"].rpartition("/")[2]: patch["value"] for patch in profile["patches"]}
    assert added["buildArgs"] == {"OWNER": str(demo.USER)}
    assert {rule["dest"] for rule in added["sync"]["manual"]} == {WORKDIR}
    copied = [rule["src"].removesuffix("/**/*") for rule in added["sync"]["manual"]]
    for program, folders in reloading(render(*DEVELOPMENT)).items():
        assert all(f"{folder}/".startswith(tuple(f"{each}/" for each in copied)) for folder in folders), program


@pytest.fixture(scope="module")
def tilt(run_helm: Helm) -> dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]]:
    """The Tiltfile's calls, by function."""
    calls: dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]] = {}

    def recording(name: str) -> Callable[..., list[Any]]:
        def record(*arguments: Any, **named: Any) -> list[Any]:
            calls.setdefault(name, []).append((arguments, named))
            return [name, *arguments]

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
        "fall_back_on",
        "sync",
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
    for (name, context), options in tilt["docker_build"]:
        for path in COPIED:
            assert any(f"{path}/".startswith(f"{each}/") for each in options["only"]), path
        assert set(CODE) < set(options["only"])
        assert all((REPOSITORY / context / path).exists() for path in (*options["only"], *options["ignore"][1:]))
        assert options["build_args"] == {"OWNER": str(demo.USER)}
        assert f"services/{name.removeprefix('souk-')}" not in options["ignore"]
    built = {name for (name, _), _ in tilt["docker_build"]}
    used = {each["image"] for pod in pods(deployed_by(tilt)).values() for each in containers(pod)}
    assert {image for image in used if image.startswith("souk")} == built


def test_tilt_copies_saved_code_into_the_programs_that_run_it(tilt: dict[str, Any]) -> None:
    steps = {name: options["live_update"] for (name, _), options in tilt["docker_build"]}
    programs = reloading(deployed_by(tilt))
    assert len(programs) == len(of(deployed_by(tilt), "Deployment"))
    for program, folders in programs.items():
        image = f"souk-{program.rpartition('-')[0] or program}"
        (fall_back, [migrations]), *copies = steps[image]
        assert fall_back == "fall_back_on"
        assert all(target == f"{WORKDIR}/{folder}" for _, folder, target in copies)
        assert set(folders) <= {folder for _, folder, _ in copies}, "else a saved file would take a deployment"
        assert migrations == f"{folders[-1]}/migrations"


def test_tilt_groups_every_program_and_server(tilt: dict[str, Any], render: Render) -> None:
    objects = deployed_by(tilt)
    named = [arguments[0] for arguments, _ in tilt["k8s_resource"]]
    assert sorted(named) == sorted(pods(objects))
    # Those would run at each save.
    manual = {arguments[0] for arguments, options in tilt["k8s_resource"] if options.get("trigger_mode") == "manual"}
    assert manual == {*of(objects, "Job")}
    ports = {
        name: [port["containerPort"] for container in pod["spec"]["containers"] for port in container.get("ports", [])]
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
