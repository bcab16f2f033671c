"""The operators and their resources in the chart, which has none by default."""

from typing import Any

import pytest
import yaml

from launcher.kubernetes.chart import CHART
from launcher.manifests import ROLES
from operators.scaler.scaler import QUERIES
from tests.chart.conftest import KIND, VARIANTS, Object, Render, containers, of, pods

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
    assert not of(rendered, "CustomResourceDefinition") | of(rendered, "ConsumerScaler") | of(rendered, "ScaledObject")


def test_their_pod_is_restricted_and_has_their_image(objects: list[Object]) -> None:
    pod = pods(objects)["operators"]
    [container] = containers(pod)
    assert container["image"] == "souk-operators:1"
    assert [*container["command"], *container["args"]][-1] == "operators"
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["resources"]["limits"]["memory"]


def test_they_have_the_rights_that_the_tests_of_operators_take_away(objects: list[Object]) -> None:
    assert of(objects, "Role")["operators"]["rules"] == yaml.safe_load((CHART / "operators/rules.yaml").read_text())
    [subject] = of(objects, "RoleBinding")["operators"]["subjects"]
    assert subject["name"] == pods(objects)["operators"]["spec"]["serviceAccountName"] == "operators"
    assert not of(objects, "ClusterRole")


def test_they_reach_prometheus_and_the_api_server_only(objects: list[Object]) -> None:
    policy = of(objects, "NetworkPolicy")["operators"]["spec"]
    kinds = [{kind for peer in rule["to"] for kind in peer} for rule in policy["egress"] if rule["ports"]]
    assert kinds == [{"namespaceSelector"}, {"ipBlock"}]
    assert len(policy["egress"]) == len(kinds)


def test_uninstalling_keeps_the_kinds(objects: list[Object]) -> None:
    for crd in of(objects, "CustomResourceDefinition").values():
        assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_each_queue_has_a_scaler_of_its_consumers(objects: list[Object]) -> None:
    scalers = of(objects, "ConsumerScaler")
    assert set(scalers) == CONSUMERS
    deployments = of(objects, "Deployment")
    for name, scaler in scalers.items():
        spec = scaler["spec"]
        assert (spec["deployment"], spec["queue"]) == (name, queue(name))
        # An upgrade would set it back.
        assert "replicas" not in deployments[name]["spec"]
        # Else it would never go down.
        grace = deployments[name]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        assert grace >= default("maxHandlingSeconds")


def default(field: str) -> Any:
    [crd] = yaml.safe_load_all((CHART / "operators/crds.yaml").read_text())
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
        for figure in ("growth", "consumed", "busy"):
            assert QUERIES[figure] % queue(name) in trigger["metadata"]["query"]
