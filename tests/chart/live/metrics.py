"""A Prometheus in the cluster, which finds programs as the Prometheus operator has it do for the chart's PodMonitor."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from launcher import apt
from launcher.cluster.cluster import Cluster
from launcher.cluster.image import write_image
from launcher.kubernetes import demo

FIND = """
import json, pathlib, re, ssl, time, urllib.request
mounted = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
url = "https://kubernetes.default.svc.cluster.local/api/v1/namespaces/souk/pods"
context = ssl.create_default_context(cafile=mounted / "ca.crt")

def targets(pod):
    meta = {
        "namespace": pod["metadata"]["namespace"],
        "pod_name": pod["metadata"]["name"],
        "pod_phase": pod["status"]["phase"],
        **{"pod_label_" + re.sub("[^a-zA-Z0-9]", "_", name): value for name, value in pod["metadata"]["labels"].items()},
    }
    for container in (*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]):
        for port in container.get("ports", []):
            labels = {"__meta_kubernetes_" + name: value for name, value in meta.items()}
            labels["__meta_kubernetes_pod_container_port_name"] = port["name"]
            yield {"targets": ["%s:%d" % (pod["status"]["podIP"], port["containerPort"])], "labels": labels}

while True:
    request = urllib.request.Request(url, headers={"Authorization": "Bearer " + (mounted / "token").read_text()})
    pods = json.load(urllib.request.urlopen(request, context=context, timeout=10))["items"]
    found = [each for pod in pods if pod["status"].get("podIP") for each in targets(pod)]
    pathlib.Path("/data/new").write_text(json.dumps(found))
    pathlib.Path("/data/new").replace("/data/targets.json")
    time.sleep(1)
"""
"""Pods as Prometheus finds them itself, which Debian's cannot."""

NAMESPACE = "monitoring"
IMAGE = "localhost/prometheus:1"
URL = f"http://prometheus.{NAMESPACE}:9090"
SCRAPE_SECONDS = 3
USER = 10001
Object = dict[str, Any]


@contextmanager
def prometheus(cluster: Cluster, pod_monitor: Object, souk: str, folder: Path) -> Iterator[None]:
    """At URL while the block runs. souk: an image with Python."""
    cluster.load(str(image(folder)))
    manifests = objects(configuration(pod_monitor), souk)
    cluster.kubectl("apply", "-f", "-", given=yaml.safe_dump_all(manifests))
    try:
        cluster.kubectl("rollout", "status", "deployment/prometheus", f"-n={NAMESPACE}", "--timeout=300s")
        yield
    finally:
        cluster.kubectl("delete", "-f", "-", given=yaml.safe_dump_all(manifests))


def image(folder: Path) -> Path:
    """Of Debian's program and the libraries that it is linked with."""
    if not shutil.which("prometheus"):
        apt.install(["prometheus"], units=["prometheus"])
    binary = shutil.which("prometheus")
    assert binary
    listed = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True).stdout
    paths = [binary, *re.findall(r"(/\S+) \(0x", listed)]
    return write_image(folder / "prometheus.tar", IMAGE, {path: Path(path).resolve() for path in paths}, [binary])


def configuration(pod_monitor: Object) -> Object:
    """As https://prometheus-operator.dev writes it."""
    labels = pod_monitor["spec"]["selector"]["matchLabels"]
    selected = [_keep(f"pod_label_{re.sub('[^a-zA-Z0-9]', '_', name)}", value) for name, value in labels.items()]
    jobs = [
        {
            "job_name": f"souk/{number}",
            "metrics_path": endpoint.get("path", "/metrics"),
            "params": endpoint.get("params", {}),
            "file_sd_configs": [{"files": ["/data/targets.json"]}],
            "relabel_configs": [
                {"source_labels": ["__meta_kubernetes_pod_phase"], "regex": "Failed|Succeeded", "action": "drop"},
                *selected,
                _keep("pod_container_port_name", endpoint["port"]),
                {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
                *({_snake(name): value for name, value in each.items()} for each in endpoint["relabelings"]),
            ],
        }
        for number, endpoint in enumerate(pod_monitor["spec"]["podMetricsEndpoints"])
    ]
    interval = {"scrape_interval": f"{SCRAPE_SECONDS}s", "scrape_timeout": f"{SCRAPE_SECONDS}s"}
    return {"global": interval, "scrape_configs": jobs}


def objects(configuration: Object, souk: str) -> list[Object]:
    labels = {"app": "prometheus"}
    role = {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]}
    bound = {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "prometheus"},
        "subjects": [{"kind": "ServiceAccount", "name": "prometheus", "namespace": NAMESPACE}],
    }
    options = ("--config.file=/etc/prometheus/prometheus.json", "--storage.tsdb.path=/data", "--log.level=warn")
    container = {
        "name": "prometheus",
        "image": IMAGE,
        "command": ["/usr/bin/prometheus", *options],
        "env": [{"name": "GOMAXPROCS", "value": "1"}],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": 9090}, "periodSeconds": 1},
        "volumeMounts": [
            {"name": "configuration", "mountPath": "/etc/prometheus"},
            {"name": "data", "mountPath": "/data"},
        ],
    }
    finder = {
        "name": "finder",
        "image": souk,
        "command": ["/venv/bin/python", "-c", FIND],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    pod = {
        "serviceAccountName": "prometheus",
        "securityContext": {"runAsUser": USER, "fsGroup": USER},
        "containers": [container, finder],
        "volumes": [{"name": "configuration", "configMap": {"name": "prometheus"}}, {"name": "data", "emptyDir": {}}],
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        _object("v1", "ServiceAccount", NAMESPACE, {}),
        _object("rbac.authorization.k8s.io/v1", "Role", demo.NAMESPACE, role),
        _object("rbac.authorization.k8s.io/v1", "RoleBinding", demo.NAMESPACE, bound),
        _object("v1", "ConfigMap", NAMESPACE, {"data": {"prometheus.json": json.dumps(configuration)}}),
        _object(
            "apps/v1", "Deployment", NAMESPACE, {"spec": {"selector": {"matchLabels": labels}, "template": template}}
        ),
        _object("v1", "Service", NAMESPACE, {"spec": {"selector": labels, "ports": [{"port": 9090}]}}),
    ]


# --- inside


def _object(version: str, kind: str, namespace: str, content: Mapping[str, Any]) -> Object:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": "prometheus", "namespace": namespace},
        **content,
    }


def _keep(label: str, value: str) -> Object:
    return {"source_labels": [f"__meta_kubernetes_{label}"], "regex": value, "action": "keep"}


def _snake(name: str) -> str:
    return re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name)
