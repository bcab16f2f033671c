"""The Kubernetes that `./souk cluster up` makes: a real one, of which nothing is left after `down`."""

import json
import os
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from launcher.cluster import cgroups
from launcher.cluster.cluster import Cluster
from launcher.cluster.image import write_image
from launcher.cluster.network import Network
from launcher.errors import LaunchError
from tests.installation import ROOT, until

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

MANY_SECONDS = 240
CLIENT_IMAGE = "localhost/client:1"

# Its health check is an HTTP server; kubectl is the HTTP client.
SERVER = """
apiVersion: v1
kind: ConfigMap
metadata: {name: server}
data: {Corefile: ".:53 {\\n health\\n}"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: server}
spec:
  selector: {matchLabels: {app: server}}
  template:
    metadata: {labels: {app: server}}
    spec:
      affinity:
        nodeAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
            - {weight: 1, preference: {matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [n2]}]}}
      containers:
        - name: server
          image: localhost/coredns:1
          command: [/coredns, -conf, /config/Corefile]
          readinessProbe: {httpGet: {path: /health, port: 8080}, periodSeconds: 1}
          volumeMounts: [{name: config, mountPath: /config}]
      volumes: [{name: config, configMap: {name: server}}]
---
apiVersion: v1
kind: Service
metadata: {name: server}
spec: {selector: {app: server}, ports: [{port: 80, targetPort: 8080}]}
"""

CLIENT = """
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: NAME}}
spec:
  nodeName: n1
  containers: [{name: client, image: IMAGE, command: [/kubectl, proxy]}]
""".replace("IMAGE", CLIENT_IMAGE)

ONLY_FRIENDS = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: only-friends}
spec:
  podSelector: {matchLabels: {app: server}}
  ingress: [{from: [{podSelector: {matchLabels: {app: friend}}}]}]
"""


@pytest.fixture(scope="module")
def pods(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """With a server on the second node, and two clients on the first."""
    image = tmp_path_factory.mktemp("image") / "client.tar"
    kubectl = cluster.kubectl.binary.resolve()
    cluster.load(str(write_image(image, CLIENT_IMAGE, {"/kubectl": kubectl}, ["/kubectl"])))
    cluster.apply(SERVER + "".join(f"---{CLIENT.replace('NAME', name)}" for name in ("friend", "stranger")))
    wait(cluster, "available", "deployment/server")
    wait(cluster, "Ready", "pod/friend", "pod/stranger")
    return cluster


def wait(cluster: Cluster, condition: str, *names: str) -> None:
    cluster.kubectl("wait", f"--for=condition={condition}", *names, f"--timeout={MANY_SECONDS}s")


def reaches(cluster: Cluster, client: str) -> bool:
    request = ("/kubectl", "--server=http://server", "--request-timeout=3s", "get", "--raw", "/health")
    return cluster.kubectl.attempt("exec", client, "--", *request) == "OK"


def nodes_of_server(cluster: Cluster) -> set[str]:
    """Of the pods that are ready."""
    listed = json.loads(
        cluster.kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=server", "-o", "json")
    )
    endpoints = [endpoint for each in listed["items"] for endpoint in each["endpoints"] or []]
    return {endpoint["nodeName"] for endpoint in endpoints if endpoint["conditions"]["ready"]}


def test_nodes_are_ready_and_measured(cluster: Cluster) -> None:
    assert cluster.ready_nodes() == ["n1", "n2"]
    wait(cluster, "available", "-n=kube-system", "deployment/coredns", "deployment/metrics-server")
    until(lambda: cluster.kubectl.attempt("top", "nodes").count("%") >= 4, MANY_SECONDS)


def test_a_pod_of_a_loaded_image_reaches_another_nodes_by_its_services_name(pods: Cluster) -> None:
    assert nodes_of_server(pods) == {"n2"}
    until(lambda: reaches(pods, "stranger"), MANY_SECONDS)


def test_network_policies_are_enforced(pods: Cluster) -> None:
    until(lambda: reaches(pods, "stranger"), MANY_SECONDS)
    pods.apply(ONLY_FRIENDS)
    until(lambda: not reaches(pods, "stranger"), MANY_SECONDS)
    until(lambda: reaches(pods, "friend"), MANY_SECONDS)
    assert not reaches(pods, "stranger")
    pods.kubectl("delete", "networkpolicy", "only-friends")
    until(lambda: reaches(pods, "stranger"), MANY_SECONDS)


def test_pods_of_a_killed_node_move_and_it_comes_back(pods: Cluster) -> None:
    assert nodes_of_server(pods) == {"n2"}
    pods.node(2).stop()
    until(lambda: pods.ready_nodes() == ["n1"], MANY_SECONDS)
    until(lambda: nodes_of_server(pods) == {"n1"} and reaches(pods, "friend"), MANY_SECONDS)
    pods.up(nodes=2)
    assert pods.ready_nodes() == ["n1", "n2"]


@pytest.mark.parametrize("name", ["kubelet", "containerd"])
def test_a_program_of_a_node_that_is_killed_is_started_again(pods: Cluster, name: str) -> None:
    def running() -> list[psutil.Process]:
        def is_it(process: psutil.Process) -> bool:
            with suppress(psutil.NoSuchProcess):
                return process.name() == name
            return False

        return list(filter(is_it, pods.node(2).processes()))

    def beat() -> str:
        return pods.kubectl("get", "lease", "n2", "-n=kube-node-lease", "-o=jsonpath={.spec.renewTime}")

    [killed] = running()
    killed.kill()
    until(lambda: running() not in ([], [killed]), MANY_SECONDS)
    before = beat()
    until(lambda: beat() > before and "n2" in pods.ready_nodes(), MANY_SECONDS)


def test_the_command_uses_a_cluster_that_kubeconfig_names(cluster: Cluster, tmp_path: Path) -> None:
    def souk(*arguments: str, **more: str) -> str:
        environment = {**os.environ, "SOUK_STATE_DIR": str(tmp_path / "state"), **more}
        command = [ROOT / "souk", "cluster", *arguments]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    assert "n2" in souk("status", KUBECONFIG=str(cluster.kubeconfig))
    other = tmp_path / "theirs"
    other.write_text(cluster.kubeconfig.read_text())
    assert souk("up", KUBECONFIG=str(other)).endswith(f"export KUBECONFIG={other}\n")
    assert "stays" in souk("down", KUBECONFIG=str(other))
    assert cluster.ready_nodes() == ["n1", "n2"]


def test_it_is_there_again_after_a_reboot(cluster: Cluster, tmp_path: Path) -> None:
    again = Cluster(tmp_path / "again")
    again.up()
    try:
        # What a reboot leaves: files.
        again.node(1).stop()
        run("ip", "link", "del", again.network.name)
        run("ip", "netns", "del", again.network.name)
        again.up()
        assert again.ready_nodes() == ["n1"]
    finally:
        again.down(wipe=True)
    assert cluster.ready_nodes() == ["n1", "n2"]


def test_nothing_is_left_of_a_stopped_cluster(cluster: Cluster, tmp_path: Path) -> None:
    second = Cluster(tmp_path / "second")
    second.up()
    network = second.network
    processes = [process for each in second.nodes() for process in each.processes()]
    assert traces(network) >= {"cgroups", "links", "mounts", "routes"}
    second.down(wipe=True)
    assert not traces(network)
    assert not [process for process in processes if process.is_running()]
    assert not second.folder.exists()
    assert cluster.ready_nodes() == ["n1", "n2"]
    with pytest.raises(LaunchError, match="souk cluster up"):
        second.load("anything")


def traces(network: Network) -> set[str]:
    """Where on the machine the network of a cluster is named."""
    places = {
        "mounts": Path("/proc/self/mounts").read_text(),
        "links": run("ip", "-o", "link"),
        "routes": run("ip", "route"),
        "firewall": run("iptables-save").replace("KUBE-", network.name),
        "cgroups": "\n".join(map(str, cgroups.ROOT.rglob("souk*"))),
    }
    return {place for place, text in places.items() if network.name in text or f"{network.prefix}." in text}


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
