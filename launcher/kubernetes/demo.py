"""From an empty cluster to a paid order: images, Secrets, the chart, and the edge as kubectl forwards it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import yaml

from launcher.cluster.cluster import Cluster
from launcher.cluster.kubectl import Kubectl
from launcher.cluster.theirs import Theirs
from launcher.errors import LaunchError
from launcher.kubernetes import helm, images, place, secrets
from launcher.kubernetes.chart import CHART
from launcher.kubernetes.forward import Forward
from launcher.progress import Progress
from launcher.stack import Stack

NAMESPACE = "souk"
TIMEOUT = "10m"
PORT = 80
"""The edge's."""

SERVERS = ("postgres", "mongo", "redis", "redis-cache", "rabbitmq", "consul")
"""Those in the servers' image."""

USER = 10001
"""Of our pods."""

RESTRICTED = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
}


def install(cluster: Cluster | Theirs, progress: Progress, live_reload: bool = False) -> None:
    """Brings everything in the cluster to the code here. live_reload: as in values/development.yaml. Raises LaunchError."""
    stack = place.stack()
    kubectl = cluster.kubectl
    owner = USER if live_reload else 0
    # Another's cluster pulls the servers' official images by itself.
    chosen = (
        _dockers(cluster, owner, progress) if isinstance(cluster, Theirs) else _own(cluster, stack, owner, progress)
    )
    if live_reload:
        chosen.append(f"--values={CHART / 'values/development.yaml'}")
    with progress.step("Namespace and Secrets"):
        kubectl("apply", "-f", "-", given=yaml.safe_dump(RESTRICTED))
        kubectl.of(NAMESPACE)("apply", "-f", "-", given=yaml.safe_dump_all(secrets.manifests(stack)))
    run = helm.Helm(helm.find(progress), cluster.kubeconfig)
    with progress.step("helm upgrade --install souk k8s/chart"):
        try:
            run(
                "upgrade",
                "--install",
                "souk",
                CHART,
                f"--namespace={NAMESPACE}",
                *chosen,
                "--wait",
                f"--timeout={TIMEOUT}",
            )
        except LaunchError as error:
            raise LaunchError(str(error), [*error.last_lines, *_not_ready(kubectl)]) from error


@contextmanager
def forwarded(kubectl: Kubectl, service: str, port: int) -> Iterator[str]:
    """host:port on this machine, while the block runs."""
    forward = Forward(kubectl.of(NAMESPACE), service, port)
    try:
        if not forward.address:
            raise LaunchError(f"kubectl cannot forward the port of {service}.", _not_ready(kubectl))
        yield forward.address
    finally:
        forward.stop()


def addresses(kubectl: str) -> list[str]:
    """Commands that show more of it."""
    return [
        f"Pods:    {kubectl} get pods",
        f"Shop:    {kubectl} port-forward service/gateway 8000:80, then http://127.0.0.1:8000/docs",
        f"Mails:   {kubectl} port-forward service/mailbox 8025",
        "Remove:  helm uninstall souk, or ./souk cluster down --wipe",
    ]


def _own(cluster: Cluster, stack: Stack, owner: int, progress: Progress) -> list[str]:
    """The chart's options for images that are made and loaded here."""
    folder = stack.state.path / "images"
    folder.mkdir(mode=0o700, exist_ok=True)
    souk, servers = images.souk(folder, owner, progress), images.servers(folder, stack.installation, progress)
    with progress.step("Images into the cluster"):
        for image in (souk, servers):
            if not _has(cluster.kubectl, image.name):
                cluster.load(str(image.archive))
    values = [f"--values={CHART / 'values' / name}.yaml" for name in ("kind", "cluster")]
    named = [f"--set=servers.{name}.image={servers.name}" for name in SERVERS]
    return [*values, f"--set=image.name={souk.name}", *named]


def _dockers(cluster: Theirs, owner: int, progress: Progress) -> list[str]:
    """The chart's options for the Dockerfile's image."""
    souk = images.built_by_docker(owner, progress)
    with progress.step("Image into the cluster"):
        cluster.load(souk)
    return [f"--values={CHART / 'values/kind.yaml'}", f"--set=image.name={souk}"]


def _has(kubectl: Kubectl, image: str) -> bool:
    """Whether all nodes have it."""
    query = "jsonpath={range .items[*]}{.status.images[*].names}{'\\n'}{end}"
    nodes = kubectl.attempt("get", "nodes", "-o", query).splitlines()
    return bool(nodes) and all(f'"{image}"' in node for node in nodes)


def _not_ready(kubectl: Kubectl) -> list[str]:
    lines = kubectl.of(NAMESPACE).attempt("get", "pods").splitlines()
    return [line for line in lines if not re.search(r"\b(\d+)/\1\b.*Running|Completed", line)]
