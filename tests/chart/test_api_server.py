"""Every object of the chart as a real API server takes it: strictly, and the pods in a namespace that enforces `restricted`."""

import pytest
import yaml

from launcher.kubernetes.demo import RESTRICTED
from tests.chart.conftest import DEVELOPMENT, KIND, PRODUCTION, VARIANTS, Render, pods
from tests.kubernetes import KubernetesServer

pytestmark = pytest.mark.kubernetes

NAMESPACE = RESTRICTED["metadata"]["name"]  # type: ignore[index]


@pytest.fixture(scope="module")
def restricted(kubernetes: KubernetesServer) -> KubernetesServer:
    kubernetes.apply(yaml.safe_dump(RESTRICTED))
    return kubernetes


@pytest.mark.parametrize("variant", [*VARIANTS, DEVELOPMENT], ids=" ".join)
def test_every_object_is_valid(restricted: KubernetesServer, render: Render, variant: tuple[str, ...]) -> None:
    # The Prometheus operator's kinds are its own.
    objects = [each for each in render(*variant) if not each["apiVersion"].startswith("monitoring.coreos.com/")]
    assert len(objects) > 50
    restricted.apply(yaml.safe_dump_all(objects), NAMESPACE, dry_run=True)


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
