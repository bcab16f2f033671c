"""The operators and their resources in the chart, which has none by default."""

from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
import yaml

from launcher.kubernetes.chart import CHART
from launcher.kubernetes.helm import Helm
from launcher.manifests import CALLERS, ROLES, SERVICES
from operators.kubernetes import GROUP, VERSION
from operators.scaler.scaler import queries
from tests.chart.conftest import KIND, PRODUCTION, VARIANTS, Object, Render, containers, of, pods
from tests.installation import until
from tests.kubernetes import KubernetesServer, Refused

URL = "http://prometheus.monitoring:9090"
ENABLED = ("operators.enabled=true", "operators.image=souk-operators:1", f"operators.metricsUrl={URL}")

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
    assert not of(rendered, "ConsumerScaler") | of(rendered, "ScaledObject") | of(rendered, "Keyring")


def test_their_pod_is_restricted_and_has_their_image(objects: list[Object]) -> None:
    pod = pods(objects)["operators"]
    [container] = containers(pod)
    assert container["image"] == "souk-operators:1"
    assert [*container["command"], *container["args"]][-1] == "operators"
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["resources"]["limits"]["memory"]


def test_they_have_the_rights_that_the_tests_of_operators_take_away(objects: list[Object]) -> None:
    rules = [{**rule} for rule in of(objects, "Role")["operators"]["rules"]]
    named = [rule.pop("resourceNames", None) for rule in rules]
    assert rules == yaml.safe_load((CHART / "operators/rules.yaml").read_text())
    # A right to create cannot name what it creates.
    [names] = [names for names in named if names]
    assert set(names) == {"souk-keyring", *(f"{service}-keys" for service in (*SERVICES, "gateway"))}
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


def install(kubernetes: KubernetesServer, helm: Helm, namespace: str, *options: str) -> None:
    """Or upgrade; nothing runs, as there are no nodes."""
    given = [argument for option in options for argument in ("--set", option)]
    values = f"--values={CHART / 'values/kind.yaml'}"
    Helm(helm.binary, kubernetes.kubeconfig)(
        "upgrade", "souk", CHART, "--install", "--no-hooks", f"--namespace={namespace}", values, *given
    )
