"""What the chart runs, and how: each name in it is one that the code knows."""

import importlib
import importlib.util
import json
import re
from collections.abc import Iterator, Mapping

import pytest

from launcher import settings
from launcher.kubernetes import chart
from launcher.manifests import ROLES
from tests.chart.conftest import KIND, PRODUCTION, VARIANTS, Object, Render, containers, of, pods

every_variant = pytest.mark.parametrize("variant", VARIANTS, ids=" ".join)

Contents = Mapping[str, Mapping[str, str]]


def ours(objects: list[Object]) -> Iterator[tuple[str, Object, Object]]:
    """Workload, pod and container of each program from our image."""
    for name, pod in pods(objects).items():
        for each in containers(pod):
            command = each.get("command", [])
            if command[:2] == ["/venv/bin/python", "-m"] and command[2:3] != ["launcher.secantus"]:
                yield name, pod, each


def module(container: Object) -> list[str]:
    return [*container["command"], *container.get("args", [])][2:]


def program(container: Object) -> str:
    """As launcher/settings.py names it."""
    named, *arguments = module(container)
    if named == "chassis":
        return arguments[-1].removeprefix("services.")
    return named.split(".")[1]


def variables(container: Object) -> list[str]:
    return [each["name"] for each in container.get("env", [])]


def secret_of(container: Object) -> str:
    found: str = container["envFrom"][0]["secretRef"]["name"]
    return found


def test_what_it_knows_of_the_code_is_fresh() -> None:
    assert {path.name: path.read_text() for path in chart.GENERATED.iterdir()} == chart.files(), "./souk chart generate"


@every_variant
def test_every_program_is_deployed(render: Render, variant: tuple[str, ...]) -> None:
    wanted = {program for program in ROLES if not program.endswith("-sidecar")}
    assert set(of(render(*variant), "Deployment")) == wanted | {"gateway"}


@every_variant
def test_commands_exist(render: Render, variant: tuple[str, ...]) -> None:
    for name, _, container in ours(render(*variant)):
        named, *arguments = module(container)
        assert importlib.util.find_spec(named), (name, named)
        for argument in arguments:
            if argument.startswith("services."):
                assert importlib.util.find_spec(argument), (name, argument)


@every_variant
def test_programs_read_every_setting_that_they_get(
    render: Render, contents: Contents, variant: tuple[str, ...]
) -> None:
    for name, _, container in ours(render(*variant)):
        given = {*variables(container), *contents[secret_of(container)]}
        unknown = {each for each in given if each.startswith("SOUK_")} - settings.names(program(container))
        assert not unknown, (name, container["name"])


@every_variant
def test_no_setting_is_given_twice(render: Render, contents: Contents, variant: tuple[str, ...]) -> None:
    for name, _, container in ours(render(*variant)):
        given = [*variables(container), *contents[secret_of(container)]]
        assert sorted(given) == sorted({*given}), (name, container["name"])


@pytest.mark.parametrize("variant", [KIND, PRODUCTION], ids=" ".join)
def test_programs_accept_their_settings(
    render: Render, contents: Contents, variant: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = 0
    for _, _, container in ours(render(*variant)):
        values = {each["name"]: each.get("value", "10.1.2.3") for each in container["env"]}
        values = {name: value.replace("$(POD_IP)", "10.1.2.3") for name, value in values.items()}
        with monkeypatch.context() as patched:
            for variable, value in {**values, **contents[secret_of(container)]}.items():
                patched.setenv(variable, value)
            reader = importlib.import_module(settings.PROGRAMS[program(container)])
            if program(container) == "sidecar":
                reader.read()
            elif program(container) not in ("bank", "mailbox"):
                for each in ("GatewaySettings", "RenderSettings") if program(container) == "gateway" else ("Settings",):
                    if each != "GatewaySettings" or container["name"] == "gateway":
                        getattr(reader, each)()
        accepted += 1
    assert accepted > len(ROLES)


def test_production_needs_nothing_that_only_a_laptop_has(render: Render) -> None:
    text = json.dumps(render(*PRODUCTION))
    assert not re.search(r"127\.0\.0\.1:(?!8100)|sandbox://|mailbox|devservers", text)


def test_every_secret_has_a_reader_and_every_reader_its_secret(render: Render, contents: Contents) -> None:
    named = set()
    for pod in pods(render(*KIND)).values():
        named |= {each["secret"]["secretName"] for each in pod["spec"]["volumes"] if "secret" in each}
        named |= {each["secretRef"]["name"] for container in containers(pod) for each in container.get("envFrom", [])}
    assert named == set(contents)


@every_variant
def test_ports_have_names_that_probes_and_services_use(render: Render, variant: tuple[str, ...]) -> None:
    objects = render(*variant)
    for name, pod in pods(objects).items():
        for container in containers(pod):
            names = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                if probe in container:
                    [action] = [container[probe][kind] for kind in ("httpGet", "tcpSocket") if kind in container[probe]]
                    assert action["port"] in names, (name, probe)
            given = {each["name"]: each.get("value") for each in container.get("env", [])}
            if "SOUK_PORT" in given and names:
                assert int(given["SOUK_PORT"] or 0) in names.values(), name
    for name, service in of(objects, "Service").items():
        for pod in pods(objects).values():
            if service["spec"]["selector"].items() <= pod["metadata"]["labels"].items():
                names = {port["name"] for container in containers(pod) for port in container.get("ports", [])}
                assert {port["targetPort"] for port in service["spec"]["ports"]} <= names
                break
        else:
            pytest.fail(f"The Service {name} has no pod.")


@every_variant
def test_every_program_says_whether_it_lives_and_is_ready(render: Render, variant: tuple[str, ...]) -> None:
    for name, deployment in of(render(*variant), "Deployment").items():
        [main] = deployment["spec"]["template"]["spec"]["containers"]
        live, ready = (main[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe"))
        if name != "gateway":
            assert (live, ready) == ("/health/live", "/health/ready")
        grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        drained = main.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        # The longest that a program takes after SIGTERM: launcher/services.py gives it 20 s.
        assert grace >= drained + 20, name


@every_variant
def test_all_but_servers_come_in_instances_that_may_be_evicted_one_by_one(
    render: Render, variant: tuple[str, ...]
) -> None:
    objects = render(*variant)
    budgets = of(objects, "PodDisruptionBudget")
    assert set(budgets) == set(of(objects, "Deployment"))
    for name, deployment in of(objects, "Deployment").items():
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert budgets[name]["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for name, scaler in of(objects, "HorizontalPodAutoscaler").items():
        assert "replicas" not in of(objects, "Deployment")[name]["spec"]
        assert scaler["spec"]["minReplicas"] < scaler["spec"]["maxReplicas"]


def test_a_sidecar_drains_its_instance_before_the_program_stops(render: Render) -> None:
    for name, deployment in of(render(*KIND), "Deployment").items():
        initial = {each["name"]: each for each in deployment["spec"]["template"]["spec"].get("initContainers", [])}
        assert ("sidecar" in initial) == name.endswith("-web")
        if "sidecar" in initial:
            assert initial["sidecar"]["restartPolicy"] == "Always"
            assert initial["sidecar"]["lifecycle"]["preStop"]["exec"]["command"][-1] == "kill -TERM 1"


def test_migrations_come_before_the_programs_that_need_them(render: Render, run_helm: object) -> None:
    for variant, hooks in ((KIND, False), (PRODUCTION, True)):
        jobs = of(render(*variant), "Job")
        for name in {*jobs} - {"products-seed"}:
            assert ("helm.sh/hook" in jobs[name]["metadata"].get("annotations", {})) == hooks
        waiting = {
            deployment
            for deployment, pod in pods(render(*variant)).items()
            if any(each["name"] == "schema" for each in pod["spec"].get("initContainers", []))
        }
        assert waiting == {name for name, service in ROLES.items() if _has_schema(name, service)}


def _has_schema(name: str, service: str) -> bool:
    return f"{service}-migrations" != "products-migrations" and not name.endswith("-sidecar")


def test_real_kong_gets_what_the_launcher_gives_it(render: Render) -> None:
    [kong] = of(render(*KIND, "edge=kong"), "Deployment")["gateway"]["spec"]["template"]["spec"]["containers"]
    given = {each["name"]: each["value"] for each in kong["env"]}
    assert chart.kong_environment().items() <= given.items()
    assert given["KONG_ADMIN_LISTEN"] == "off"


def test_alerts_are_monitorings_own(render: Render) -> None:
    found = of(render(*PRODUCTION), "PrometheusRule")
    assert {name.removeprefix("souk-"): each["spec"] for name, each in found.items()} == chart.rules()
