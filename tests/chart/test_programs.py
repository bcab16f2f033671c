"""What the chart runs, and how: each name in it is one that the code knows."""

import importlib
import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from launcher import settings
from launcher.kubernetes import chart
from launcher.kubernetes.chart import CHART
from launcher.kubernetes.helm import Helm
from launcher.manifests import ROLES, SERVICES
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
    assert set(of(render(*variant), "Deployment")) == wanted | {"gateway", "console-web"}


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
            elif program(container) == "console":
                reader.ConsoleSettings().require("session_keys")
            elif program(container) not in ("bank", "mailbox"):
                for each in ("GatewaySettings", "RenderSettings") if program(container) == "gateway" else ("Settings",):
                    if each != "GatewaySettings" or container["name"] == "gateway":
                        getattr(reader, each)()
        accepted += 1
    assert accepted > len(ROLES)


def test_a_services_own_image_can_be_ended_where_values_are_reused(render: Render) -> None:
    """With --reuse-values a name that is left out stays."""

    def images(own: str) -> set[str]:
        pod = pods(render(*KIND, "image.tag=v2", f"image.names.orders={own}"))["orders-worker"]
        return {each["image"] for each in containers(pod)}

    assert images("souk-orders:v1") == {"souk-orders:v1"}
    assert images("") == {"souk:v2"}


def test_production_needs_nothing_that_only_a_laptop_has(render: Render) -> None:
    text = json.dumps(render(*PRODUCTION))
    assert not re.search(r"127\.0\.0\.1:(?!8100|8001)|sandbox://|mailbox|devservers", text)


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
        assert ("sidecar" in initial) == (name.endswith("-web") and name != "console-web")
        if "sidecar" in initial:
            assert initial["sidecar"]["restartPolicy"] == "Always"
            assert initial["sidecar"]["lifecycle"]["preStop"]["exec"]["command"][-1] == "kill -TERM 1"


@pytest.mark.parametrize(("variant", "hooks"), [(KIND, False), (PRODUCTION, True)])
def test_migrations_come_before_the_programs_that_need_them(
    render: Render, run_helm: Helm, variant: tuple[str, ...], hooks: bool
) -> None:
    upgrade = run_helm("template", "souk", CHART, "--is-upgrade", f"--values={CHART / variant[0]}")
    for objects in (render(*variant), [each for each in yaml.safe_load_all(upgrade) if each]):
        jobs = {name: job for name, job in of(objects, "Job").items() if "migrations" in name}
        assert {name.partition("-")[0] for name in jobs} == set(SERVICES)
        for name, job in jobs.items():
            assert name.endswith("-migrations-1"), "a revision's own"
            assert ("helm.sh/hook" in job["metadata"].get("annotations", {})) == hooks
            policy = of(objects, "NetworkPolicy")[name.removesuffix("-1")]
            # Before its job, as the previous revision's policies may allow less.
            weight = policy["metadata"].get("annotations", {}).get("helm.sh/hook-weight")
            assert weight == ("-1" if hooks else None)
            assert (
                policy["spec"]["podSelector"]["matchLabels"].items()
                <= job["spec"]["template"]["metadata"]["labels"].items()
            )
            assert {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]} > {53}
        waiting = {
            deployment
            for deployment, pod in pods(render(*variant)).items()
            if any(each["name"] == "schema" for each in pod["spec"].get("initContainers", []))
        }
        assert waiting == {name for name, service in ROLES.items() if _has_schema(name, service)}


def _has_schema(name: str, service: str) -> bool:
    return f"{service}-migrations" != "products-migrations" and not name.endswith("-sidecar")


@pytest.mark.parametrize("edge", ["gateway", "kong"])
def test_the_client_is_whom_the_ingress_names(render: Render, edge: str) -> None:
    objects = render(*PRODUCTION, f"edge={edge}", "ingress.networks={10.9.0.0/16,fd00::/8}")
    [container] = pods(objects)["gateway"]["spec"]["containers"]
    given = {each["name"]: each.get("value") for each in container["env"]}
    if edge == "kong":
        assert (given["KONG_TRUSTED_IPS"], given["KONG_REAL_IP_HEADER"]) == ("10.9.0.0/16,fd00::/8", "X-Forwarded-For")
    else:
        assert json.loads(given["SOUK_TRUSTED_IPS"]) == ["10.9.0.0/16", "fd00::/8"]
        assert given["SOUK_REAL_IP_HEADER"] == "X-Forwarded-For"
    for name, _, each in ours(objects):
        if module(each)[0] in ("chassis", "services.console"):
            found = {variable["name"]: variable["value"] for variable in each["env"]}
            assert found["SOUK_TRUSTED_HOPS"] == "2", name


def test_kongs_workers_do_not_grow_with_the_node(render: Render) -> None:
    [kong] = pods(render(*PRODUCTION))["gateway"]["spec"]["containers"]
    assert {"name": "KONG_NGINX_WORKER_PROCESSES", "value": "2"} in kong["env"]
    assert kong["resources"]["limits"]["memory"] == "768Mi"


@every_variant
def test_the_edge_leads_to_the_console(render: Render, variant: tuple[str, ...]) -> None:
    objects = render(*variant)
    [service] = of(objects, "Service")["console"]["spec"]["ports"]
    [edge] = pods(objects)["gateway"]["spec"]["initContainers"]
    address = f"console.souk.svc.cluster.local:{service['port']}"
    assert {"name": "SOUK_EDGE_CONSOLE", "value": address} in edge["env"]


def test_there_may_be_no_console(render: Render) -> None:
    objects = render(*KIND, "console.enabled=false")
    assert not [each for each in objects if each["metadata"]["name"].startswith("console")]
    assert "SOUK_EDGE_CONSOLE" not in json.dumps(objects)


def test_a_release_says_where_to_look(run_helm: Helm) -> None:
    def notes(*options: str) -> str:
        values = f"--values={CHART / 'values/production.yaml'}"
        return run_helm("install", "souk", CHART, values, "--dry-run=client", *options).split("NOTES:")[1]

    assert "https://shop.example.com/\n" in notes()
    assert "/docs" not in notes()
    assert "https://shop.example.com/docs" in notes("--set=edge=gateway")


def test_real_kong_gets_what_the_launcher_gives_it(render: Render) -> None:
    [kong] = of(render(*KIND, "edge=kong"), "Deployment")["gateway"]["spec"]["template"]["spec"]["containers"]
    given = {each["name"]: each["value"] for each in kong["env"]}
    assert chart.kong_environment().items() <= given.items()
    assert given["KONG_ADMIN_LISTEN"] == "127.0.0.1:8001"


def test_alerts_are_monitorings_own(render: Render) -> None:
    found = of(render(*PRODUCTION), "PrometheusRule")
    del found["souk-absent"]
    assert {name.removeprefix("souk-"): each["spec"] for name, each in found.items()} == chart.rules()


@pytest.mark.parametrize("variant", [PRODUCTION, (*PRODUCTION, "console.enabled=false", "operators.enabled=false")])
def test_a_program_without_a_pod_is_noticed(render: Render, tmp_path: Path, variant: tuple[str, ...]) -> None:
    objects = render(*variant)
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in of(objects, "Deployment").values()]
    programs = {(each["app.kubernetes.io/name"], each["app.kubernetes.io/component"]) for each in labels}
    spec = of(objects, "PrometheusRule")["souk-absent"]["spec"]
    watched = [re.findall('app="([a-z]+)",role="([a-z]+)"', rule["expr"]) for rule in spec["groups"][0]["rules"]]
    assert sorted(watched) == [[program] for program in sorted(programs)]
    endpoints = of(objects, "PodMonitor")["souk"]["spec"]["podMetricsEndpoints"]
    roles = {each["replacement"] for at in endpoints for each in at["relabelings"] if each.get("targetLabel") == "role"}
    assert roles >= {role for _, role in programs}
    if shutil.which("promtool"):
        _test_absence(tmp_path, spec, programs, ("orders", "worker"))


def _test_absence(folder: Path, spec: Object, programs: set[tuple[str, str]], gone: tuple[str, str]) -> None:
    """From the eleventh minute on."""
    rules = folder / "rules.json"
    rules.write_text(json.dumps(spec))
    series = [
        {
            "series": f'up{{job="souk",namespace="souk",app="{app}",role="{role}",instance="{app}-{role}-0"}}',
            "values": "1x10 stale" if (app, role) == gone else "1x30",
        }
        for app, role in programs
    ]
    firing = 'count by (app, role) (ALERTS{alertname="ProgramDown",alertstate="firing"})'
    found = [{"labels": f'{{app="{gone[0]}",role="{gone[1]}"}}', "value": 1}]
    checks = [
        {"expr": firing, "eval_time": "15m", "exp_samples": []},
        {"expr": firing, "eval_time": "16m", "exp_samples": found},
    ]
    test = {"interval": "1m", "input_series": series, "promql_expr_test": checks}
    file = folder / "tests.json"
    file.write_text(json.dumps({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": [test]}))
    outcome = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, check=False)
    assert not outcome.returncode, outcome.stdout + outcome.stderr
