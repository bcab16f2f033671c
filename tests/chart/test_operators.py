"""The operators and their resources in the chart, which has none by default."""

import shutil
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
import yaml

from launcher.cluster.kubectl import Kubectl
from launcher.cluster.theirs import find_kubectl
from launcher.errors import LaunchError
from launcher.kubernetes.chart import CHART
from launcher.kubernetes.helm import Helm
from launcher.manifests import CALLERS, ROLES, SERVICES
from launcher.release import apply_kinds, upgrade
from operators.canary.objects import WEIGHTS, canary_of, release_of, with_release
from operators.canary.rollout import Release
from operators.kubernetes import GROUP, VERSION
from operators.scaler.scaler import queries
from tests.chart.conftest import KIND, PRODUCTION, VARIANTS, Object, Render, containers, of, pods
from tests.chart.test_security import allowed, matching
from tests.installation import until
from tests.kubernetes import KubernetesServer, Refused

URL = "http://prometheus.monitoring:9090"
ENABLED = ("operators.enabled=true", "operators.image=souk-operators:1", f"operators.metricsUrl={URL}")

PROGRAMS = {name for name in ROLES if name.endswith(("-web", "-worker", "-celery"))}
CONSUMERS = {name for name in ROLES if name.endswith(("-worker", "-celery"))}


def queue(consumer: str) -> str:
    service, _, role = consumer.rpartition("-")
    return f"{service}.celery" if role == "celery" else service


@pytest.fixture
def objects(render: Render) -> list[Object]:
    return render(*KIND, *ENABLED, "operators.scaler=souk")


@pytest.mark.parametrize("variant", VARIANTS, ids=" ".join)
def test_there_are_none_by_default(render: Render, variant: tuple[str, ...]) -> None:
    rendered = render(*variant)
    assert "operators" not in of(rendered, "Deployment")
    kinds = ("ConsumerScaler", "ScaledObject", "Keyring", "Canary")
    assert not [name for kind in kinds for name in of(rendered, kind)]


def test_their_pod_is_restricted_and_has_their_image(objects: list[Object]) -> None:
    pod = pods(objects)["operators"]
    [container] = containers(pod)
    assert container["image"] == "souk-operators:1"
    assert [*container["command"], *container["args"]][-1] == "operators"
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["resources"]["limits"]["memory"]


CANARIES = {f"{program}-canary" for program in PROGRAMS}
PREVIEWS = {f"{service}-canary" for service in SERVICES}
KEYS = {("secrets", "get"): {"souk-keyring", *(f"{service}-keys" for service in (*SERVICES, "gateway"))}}
NAMED = {
    "": KEYS,
    # A right to create cannot name what it creates.
    "Canary": {
        **KEYS,
        ("configmaps", "get"): {f"{service}-weights" for service in SERVICES},
        ("services", "get"): PREVIEWS,
        ("services", "delete"): PREVIEWS,
        ("deployments", "update"): PROGRAMS | CANARIES,
        ("deployments", "delete"): CANARIES,
    },
}


@pytest.mark.parametrize(("strategy", "files"), [("", ["rules"]), ("Canary", ["rules", "canary-rules"])])
def test_they_have_the_rights_that_the_tests_of_operators_take_away(
    render: Render, strategy: str, files: list[str]
) -> None:
    objects = render(*KIND, *ENABLED, f"operators.canary.strategy={strategy}")
    rules = [{**rule} for rule in of(objects, "Role")["operators"]["rules"]]
    named = {(rule["resources"][0], rule["verbs"][0]): set(rule.pop("resourceNames", ())) for rule in rules}
    assert rules == [
        rule for name in files for rule in yaml.safe_load((CHART / "operators" / f"{name}.yaml").read_text())
    ]
    assert {right: names for right, names in named.items() if names} == NAMED[strategy]
    [subject] = of(objects, "RoleBinding")["operators"]["subjects"]
    assert subject["name"] == pods(objects)["operators"]["spec"]["serviceAccountName"] == "operators"
    assert not of(objects, "ClusterRole")


def test_they_reach_pods_prometheus_and_the_api_server_only(objects: list[Object]) -> None:
    policy = of(objects, "NetworkPolicy")["operators"]["spec"]
    kinds = [{kind for peer in rule["to"] for kind in peer} for rule in policy["egress"] if rule["ports"]]
    assert kinds == [{"podSelector"}, {"namespaceSelector"}, {"ipBlock"}]
    assert len(policy["egress"]) == len(kinds)


def test_each_queue_has_a_scaler_of_its_consumers(objects: list[Object]) -> None:
    scalers = of(objects, "ConsumerScaler")
    assert set(scalers) == CONSUMERS
    deployments = of(objects, "Deployment")
    for name, scaler in scalers.items():
        spec = scaler["spec"]
        assert (spec["deployment"], spec["queue"]) == (name, queue(name))
        assert spec["brokerLabels"] == {"namespace": "souk"}
        # Rendered without a cluster, it would set it back.
        assert "replicas" not in deployments[name]["spec"]
        # Else it would never go down.
        grace = deployments[name]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        assert grace >= default("maxHandlingSeconds")


def test_a_keyring_has_all_callers(render: Render) -> None:
    objects = render(*KIND, *ENABLED, "operators.keyring.enabled=true")
    spec = of(objects, "Keyring")["souk"]["spec"]
    assert {service: sorted(callers) for service, callers in spec["callers"].items()} == CALLERS
    assert (spec["algorithm"], spec["intervalDays"], spec["rotation"]) == ("EdDSA", 90, 0)


def test_each_pod_with_keys_says_which_it_has_loaded(render: Render) -> None:
    objects = render(*KIND, *ENABLED, "operators.keyring.enabled=true")
    operators = of(objects, "Deployment")["operators"]["spec"]["template"]["metadata"]["labels"]
    policies = of(objects, "NetworkPolicy")
    for name, pod in pods(objects).items():
        if any(volume["name"] == "keys" for volume in pod["spec"].get("volumes", [])):
            ports = {
                port["name"]: port["containerPort"]
                for container in containers(pod)
                for port in container.get("ports", [])
            }
            port = ports.get("keys", "http")
            assert port in {*ports, *ports.values()}
            peers = [
                peer
                for rule in policies[name]["spec"]["ingress"]
                if {"port": port} in rule["ports"]
                for peer in rule.get("from", [])
            ]
            selectors = [peer["podSelector"]["matchLabels"] for peer in peers if "podSelector" in peer]
            assert any(selector.items() <= operators.items() for selector in selectors)


def default(field: str) -> Any:
    crd, *_ = yaml.safe_load_all((CHART / "crds/operators.yaml").read_text())
    [version] = crd["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"][field]["default"]


def test_keda_scales_by_the_same_figures(render: Render) -> None:
    objects = render(*KIND, f"operators.metricsUrl={URL}", "operators.scaler=keda")
    assert not of(objects, "ConsumerScaler")
    scaled = of(objects, "ScaledObject")
    assert set(scaled) == CONSUMERS
    for name, each in scaled.items():
        assert each["spec"]["scaleTargetRef"] == {"name": name}
        [trigger] = each["spec"]["triggers"]
        found = queries(queue(name), {"namespace": "souk"}, {"namespace": "souk"})
        for figure in ("growth", "consumed", "busy"):
            assert found[figure] in trigger["metadata"]["query"]
        # Without figures what runs goes on.
        assert trigger["metadata"]["ignoreNullValues"] == "false"
        assert each["spec"]["fallback"]["behavior"] == "currentReplicasIfHigher"
        assert each["spec"]["fallback"]["replicas"] == each["spec"]["minReplicaCount"]


def test_an_external_broker_has_labels_of_its_own(render: Render) -> None:
    objects = render(*PRODUCTION, *ENABLED, "operators.scaler=souk", "operators.brokerLabels.cluster=shop")
    for scaler in of(objects, "ConsumerScaler").values():
        assert scaler["spec"]["brokerLabels"] == {"cluster": "shop"}
    for scaler in of(render(*PRODUCTION, *ENABLED, "operators.scaler=souk"), "ConsumerScaler").values():
        assert scaler["spec"]["brokerLabels"] == {}


# --- canaries


CANARY = (*ENABLED, "operators.canary.strategy=Canary", "image.tag=v2")
OWNER = {"metadata": {"name": "orders", "uid": "1"}}


@pytest.fixture(params=["consul", "kubernetes"])
def with_canaries(render: Render, request: pytest.FixtureRequest) -> list[Object]:
    return render(*KIND, *CANARY, f"discovery={request.param}")


def beside(objects: list[Object]) -> list[Object]:
    """The canaries' Deployments, as the operator makes them."""
    deployments = of(objects, "Deployment")
    return [canary_of(deployments[name], Release("souk:3", "3"), 1, OWNER) for name in sorted(PROGRAMS)]


def test_each_service_has_a_canary_of_its_image(with_canaries: list[Object]) -> None:
    found = of(with_canaries, "Canary")
    assert set(found) == set(SERVICES)
    version = of(with_canaries, "Deployment")["orders-web"]["metadata"]["labels"]["app.kubernetes.io/version"]
    for each in found.values():
        spec = each["spec"]
        assert (spec["image"], spec["version"], spec["strategy"]) == ("souk:v2", version, "Canary")
        assert (spec["steps"], spec["intervalSeconds"]) == ([5, 25, 50], 300)


def test_an_edge_reads_the_weights_of_each_service(with_canaries: list[Object]) -> None:
    pod = pods(with_canaries)["gateway"]
    [keys] = [each for each in containers(pod) if each["name"] == "keys"]
    [folder] = [each["value"] for each in keys["env"] if each["name"] == "SOUK_WEIGHTS_DIRECTORY"]
    assert {"name": "weights", "mountPath": folder, "readOnly": True} in keys["volumeMounts"]
    [volume] = [each["projected"] for each in pod["spec"]["volumes"] if each["name"] == "weights"]
    expected = [
        {
            "configMap": {
                "name": f"{service}-weights",
                "optional": True,
                "items": [{"key": WEIGHTS, "path": f"{service}.json"}],
            }
        }
        for service in sorted(SERVICES)
    ]
    assert volume["sources"] == expected


def test_a_canary_reaches_what_its_program_does_and_only_the_edge_calls_it(with_canaries: list[Object]) -> None:
    objects = [*with_canaries, *beside(with_canaries)]
    into = {(caller, callee) for callee, caller in allowed(objects, "ingress", "from")}
    passing = allowed(objects, "egress", "to") & into
    for program in PROGRAMS:
        canary = f"{program}-canary"
        reached = {other for one, other in passing if one == program}
        # Its sidecar would tell Consul of it.
        assert {other for one, other in passing if one == canary} == reached
        callers = {"gateway", "operators"} if program.endswith("-web") else {"operators"}
        assert {one for one, other in passing if other == canary} == callers
        assert {one for one, other in passing if other == program} >= callers


def test_nothing_else_of_a_release_selects_its_canary(with_canaries: list[Object]) -> None:
    canaries = beside(with_canaries)
    labels = {each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"] for each in canaries}
    for kind in ("Service", "PodDisruptionBudget", "Deployment"):
        for each in of(with_canaries, kind).values():
            selector = each["spec"]["selector"]
            assert not matching(selector if kind != "Service" else {"matchLabels": selector}, labels)
    for each in canaries:
        assert each["spec"]["selector"]["matchLabels"].items() <= labels[each["metadata"]["name"]].items()
        assert "sidecar" not in {container["name"] for container in containers(each["spec"]["template"])}
        spread = each["spec"]["template"]["spec"]["topologySpreadConstraints"]
        assert all(matching(one["labelSelector"], labels) == {each["metadata"]["name"]} for one in spread)
        images = {container["image"] for container in containers(each["spec"]["template"])}
        assert images == {"souk:3"}


def test_canaries_need_their_operator(run_helm: Helm) -> None:
    with pytest.raises(LaunchError) as refused:
        run_helm("template", "souk", CHART, "--values", CHART / KIND[0], "--set", "operators.canary.strategy=Canary")
    assert "operators.canary: needs operators.enabled" in " ".join(refused.value.last_lines)


def test_production_is_released_by_canaries(render: Render) -> None:
    objects = render("values/production.yaml+values/canary.yaml", "operators.image=souk-operators:1")
    assert set(of(objects, "Canary")) == set(SERVICES)
    monitors = of(objects, "PodMonitor")["souk"]["spec"]["podMetricsEndpoints"]
    scraped = [each["relabelings"][0]["regex"] for each in monitors]
    assert {"web(-canary)?", "worker(-canary)?", "operators(-canary)?"} <= set(scraped)


# --- on a real API server


SCALED = "orders-worker"


@pytest.fixture
def namespace(kubernetes: KubernetesServer) -> str:
    """Of a cluster that does not know the kinds yet."""
    for crd in yaml.safe_load_all((CHART / "crds/operators.yaml").read_text()):
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}"
        with suppress(Refused):
            kubernetes.request("DELETE", path)
        until(lambda path=path: is_missing(kubernetes, path))
    name = f"chart-{uuid4().hex[:8]}"
    kubernetes.apply(yaml.safe_dump({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
    return name


def is_missing(kubernetes: KubernetesServer, path: str) -> bool:
    try:
        kubernetes.request("GET", path)
    except Refused as refused:
        return refused.status == 404
    return False


@pytest.mark.kubernetes
def test_kinds_and_resources_are_installed_at_once(
    kubernetes: KubernetesServer, run_helm: Helm, namespace: str
) -> None:
    install(kubernetes, run_helm, namespace, *ENABLED, "operators.scaler=souk")
    found = kubernetes.request("GET", f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/consumerscalers")["items"]
    assert {each["metadata"]["name"] for each in found} == CONSUMERS


@pytest.mark.kubernetes
def test_a_release_brings_the_kinds_up_to_date_which_helm_leaves_as_they_are(
    kubernetes: KubernetesServer, run_helm: Helm, namespace: str
) -> None:
    if not shutil.which("kubectl"):
        pytest.skip("NOT TESTED: kubectl, which changes the operators' kinds, is not installed")
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/canaries.souk.dev"

    def columns() -> list[str]:
        [version] = kubernetes.request("GET", path)["spec"]["versions"]
        return [each["name"] for each in version["additionalPrinterColumns"]]

    install(kubernetes, run_helm, namespace)
    now = columns()
    older = [{"op": "remove", "path": "/spec/versions/0/additionalPrinterColumns/0"}]
    kubernetes.request("PATCH", path, older, "application/json-patch+json")
    install(kubernetes, run_helm, namespace)
    assert columns() == now[1:]
    apply_kinds(Kubectl(find_kubectl(), kubernetes.kubeconfig))
    assert columns() == now


@pytest.mark.kubernetes
def test_turning_the_scaler_on_stops_no_consumer(kubernetes: KubernetesServer, run_helm: Helm, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{SCALED}"

    def replicas() -> int:
        count: int = kubernetes.request("GET", path)["spec"]["replicas"]
        return count

    install(kubernetes, run_helm, namespace, "worker.replicas=4")
    assert replicas() == 4
    on = ("worker.replicas=2", *ENABLED, "operators.scaler=souk")
    install(kubernetes, run_helm, namespace, *on)
    assert replicas() == 4
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 3}}
    scale["metadata"] = {"name": SCALED, "namespace": namespace}
    kubernetes.request("PUT", f"{path}/scale", scale)
    install(kubernetes, run_helm, namespace, *on)
    assert replicas() == 3


@pytest.mark.kubernetes
def test_an_upgrade_leaves_images_to_the_canaries(kubernetes: KubernetesServer, run_helm: Helm, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/orders-web"
    on = (*ENABLED, "operators.canary.strategy=Canary")

    def images() -> tuple[str, str]:
        """What runs, and what shall."""
        canary = kubernetes.request("GET", f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/canaries/orders")
        return release_of(kubernetes.request("GET", path)).image, canary["spec"]["image"]

    install(kubernetes, run_helm, namespace, *on, "image.tag=v1")
    assert images() == ("souk:v1", "souk:v1")
    install(kubernetes, run_helm, namespace, *on, "image.tag=v2", "web.replicas=3")
    assert images() == ("souk:v1", "souk:v2")
    # As the operator promotes it.
    kubernetes.request("PUT", path, with_release(kubernetes.request("GET", path), Release("souk:v2", "2")))
    install(kubernetes, run_helm, namespace, *on, "image.tag=v3")
    assert images() == ("souk:v2", "souk:v3")
    assert release_of(kubernetes.request("GET", path)).version == "2"
    # The image of an earlier revision is not that which ran then.
    with pytest.raises(LaunchError) as refused:
        Helm(run_helm.binary, kubernetes.kubeconfig)("rollback", "souk", "2", "--no-hooks", f"--namespace={namespace}")
    assert "conflict" in " ".join(refused.value.last_lines)
    assert images()[0] == "souk:v2"


@pytest.mark.kubernetes
def test_a_release_without_canaries_follows_one_with_them(
    kubernetes: KubernetesServer, run_helm: Helm, namespace: str
) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/orders-web"
    canary = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/canaries/orders"

    def deploy(image: str, by_canary: bool, *more: str) -> None:
        # Nothing gets ready, as there are no nodes.
        options = ("--wait=hookOnly", "--rollback-on-failure=false", "--no-hooks")
        helm = Helm(run_helm.binary, kubernetes.kubeconfig)
        upgrade(helm, namespace, [CHART / "values/kind.yaml"], image, by_canary, *options, *more)

    def running() -> str:
        return release_of(kubernetes.request("GET", path)).image

    deploy("souk:v1", by_canary=True)
    deploy("souk:v2", by_canary=True)
    assert running() == "souk:v1"
    stage(kubernetes, canary, "Judging")
    with pytest.raises(LaunchError) as refused:
        deploy("souk:v3", by_canary=False)
    assert "the Canary of orders has not ended" in " ".join(refused.value.last_lines)
    # As the operator promotes it.
    kubernetes.request("PUT", path, with_release(kubernetes.request("GET", path), Release("souk:v2", "2")))
    stage(kubernetes, canary, "Promoted")
    deploy("souk:v3", by_canary=False)
    assert running() == "souk:v3"
    with pytest.raises(Refused, match="404"):
        kubernetes.request("GET", canary)
    deploy("souk:v4", by_canary=True)
    assert running() == "souk:v3"
    # Somebody stops it.
    kubernetes.request("PATCH", canary, {"spec": {"image": "souk:v3"}}, "application/merge-patch+json")
    with pytest.raises(LaunchError) as conflict:
        deploy("souk:v5", by_canary=True)
    assert "conflict" in " ".join(conflict.value.last_lines)
    deploy("souk:v5", True, "--force-conflicts")
    assert kubernetes.request("GET", canary)["spec"]["image"] == "souk:v5"


@pytest.mark.kubernetes
def test_rights_for_canaries_stay_while_one_has_left_something(
    kubernetes: KubernetesServer, run_helm: Helm, namespace: str
) -> None:
    deployments = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    role = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles/operators"

    def may_create(strategy: str) -> bool:
        install(kubernetes, run_helm, namespace, *ENABLED, f"operators.canary.strategy={strategy}")
        rules = kubernetes.request("GET", role)["rules"]
        return any((each["resources"], each["verbs"]) == (["deployments"], ["create"]) for each in rules)

    assert may_create("Canary")
    stable = kubernetes.request("GET", f"{deployments}/orders-web")
    kubernetes.request("POST", deployments, canary_of(stable, Release("souk:2", "2"), 1, stable))
    assert may_create("")
    kubernetes.request("DELETE", f"{deployments}/orders-web-canary")
    assert not may_create("")


def stage(kubernetes: KubernetesServer, canary: str, name: str) -> None:
    status = {"status": {"stage": name}}
    kubernetes.request("PATCH", f"{canary}/status", status, "application/merge-patch+json")


def install(kubernetes: KubernetesServer, helm: Helm, namespace: str, *options: str) -> None:
    """Or upgrade; nothing runs, as there are no nodes."""
    given = [argument for option in options for argument in ("--set", option)]
    values = f"--values={CHART / 'values/kind.yaml'}"
    Helm(helm.binary, kubernetes.kubeconfig)(
        "upgrade", "souk", CHART, "--install", "--no-hooks", f"--namespace={namespace}", values, *given
    )
