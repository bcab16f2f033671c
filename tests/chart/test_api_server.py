"""Every object of the chart as a real API server takes it: strictly, and the pods in a namespace that enforces `restricted`."""

import copy

import pytest
import yaml

from launcher.kubernetes.chart import CHART
from launcher.kubernetes.demo import RESTRICTED
from tests.chart.conftest import DEVELOPMENT, KIND, PRODUCTION, VARIANTS, Render, of, pods
from tests.kubernetes import KubernetesServer, Refused

pytestmark = pytest.mark.kubernetes

NAMESPACE = RESTRICTED["metadata"]["name"]  # type: ignore[index]

CANARY = ("values/production.yaml+values/canary.yaml", "operators.image=souk-operators:1")
ALL = [*VARIANTS, DEVELOPMENT, CANARY]


@pytest.fixture(scope="module")
def restricted(kubernetes: KubernetesServer) -> KubernetesServer:
    kubernetes.apply(yaml.safe_dump(RESTRICTED))
    return kubernetes


@pytest.mark.parametrize("variant", ALL, ids=" ".join)
def test_every_object_is_valid(
    restricted: KubernetesServer, our_kinds: None, render: Render, variant: tuple[str, ...]
) -> None:
    # The Prometheus operator's kinds are its own.
    objects = [each for each in render(*variant) if not each["apiVersion"].startswith("monitoring.coreos.com/")]
    assert len(objects) > 50
    restricted.apply(yaml.safe_dump_all(objects), NAMESPACE, dry_run=True)


def test_every_file_of_values_is_tried() -> None:
    files = {f"values/{path.name}" for path in CHART.glob("values/*.yaml")}
    assert files == {file for variant in ALL for file in variant[0].split("+")}


def test_an_unknown_field_is_refused(restricted: KubernetesServer, render: Render) -> None:
    """Anywhere in an object: which shows that the test of all objects could fail."""
    deployment = copy.deepcopy(of(render(*KIND), "Deployment")["orders-web"])
    restricted.apply(yaml.safe_dump(deployment), NAMESPACE, dry_run=True)
    deployment["spec"]["template"]["spec"]["containers"][0]["imagePullPolicies"] = "Always"
    with pytest.raises(Refused, match="imagePullPolicies"):
        restricted.apply(yaml.safe_dump(deployment), NAMESPACE, dry_run=True)


@pytest.mark.parametrize("variant", [KIND, (*KIND, "edge=kong"), PRODUCTION, DEVELOPMENT], ids=" ".join)
def test_every_pod_is_admitted(restricted: KubernetesServer, render: Render, variant: tuple[str, ...]) -> None:
    for name, pod in pods(render(*variant)).items():
        spec = {key: value for key, value in pod["spec"].items() if key != "serviceAccountName"}
        manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": pod["metadata"]["labels"]}}
        # Its StatefulSet would add the volume.
        spec["volumes"] = [*spec["volumes"], *([] if has_data(spec) else [{"name": "data", "emptyDir": {}}])]
        restricted.apply(yaml.safe_dump({**manifest, "spec": spec}), NAMESPACE, dry_run=True)


def has_data(spec: dict[str, list[dict[str, str]]]) -> bool:
    return any(volume["name"] == "data" for volume in spec["volumes"])


def test_what_is_not_restricted_is_refused(restricted: KubernetesServer, render: Render) -> None:
    """Which shows that the test before could fail."""
    pod = pods(render(*KIND))["bank"]
    spec = {
        **pod["spec"],
        "securityContext": {},
        "volumes": [*pod["spec"]["volumes"], {"name": "data", "emptyDir": {}}],
    }
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bank"}, "spec": spec}
    with pytest.raises(Exception, match="violates PodSecurity"):
        restricted.apply(yaml.safe_dump(manifest), NAMESPACE, dry_run=True)
