"""What a canary consists of in a cluster, made from what runs."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

from operators.canary.rollout import Release
from operators.kubernetes import GROUP, Object

ROLES = ("web", "worker", "celery")
"""A service's programs, as far as it has them: Deployments SERVICE-ROLE."""

NAME, COMPONENT, INSTANCE, RELEASE = (
    f"app.kubernetes.io/{each}" for each in ("name", "component", "instance", "version")
)
EDGE = {NAME: "gateway", COMPONENT: "edge"}
WEB_CANARY = {COMPONENT: "web-canary"}
MADE_OF = f"{GROUP}/made-of"
"""Digest of what the operator has made: the API server adds defaults."""

VERSION_VARIABLE = "SOUK_VERSION"
SIDECAR = "sidecar"
"""Would have Consul name the canary beside the stable pods, at full weight."""

PORT = 8080
WEIGHTS = "weights.json"


def release_of(deployment: Object) -> Release:
    container = _program(deployment)
    version = next((each["value"] for each in container.get("env", []) if each["name"] == VERSION_VARIABLE), "")
    return Release(container["image"], version)


def with_release(deployment: Object, release: Release) -> Object:
    """The same, of another release."""
    found, before = deepcopy(deployment), _program(deployment)["image"]
    template = found["spec"]["template"]
    template["metadata"]["labels"][RELEASE] = release.version
    for container in (*template["spec"].get("initContainers", []), *template["spec"]["containers"]):
        if container["image"] == before:
            container["image"] = release.image
        for variable in container.get("env", []):
            if variable["name"] == VERSION_VARIABLE:
                variable["value"] = release.version
    return found


def canary_of(deployment: Object, release: Release, replicas: int, owner: Object) -> Object:
    """Beside this one: it belongs to no Service, budget or autoscaler of its. owner: the stable web program, here and below."""
    role = deployment["spec"]["template"]["metadata"]["labels"][COMPONENT]
    spec = _renamed(with_release(deployment, release)["spec"], role)
    pod = spec["template"]["spec"]
    if "initContainers" in pod:
        pod["initContainers"] = [each for each in pod["initContainers"] if each["name"] != SIDECAR]
    spec["replicas"] = replicas
    return _owned(
        "apps/v1", "Deployment", f"{deployment['metadata']['name']}-canary", owner, spec["selector"], {"spec": spec}
    )


def service_of(canary: Object, name: str, owner: Object) -> Object:
    """canary: its web program."""
    selector = canary["spec"]["selector"]
    ports = [{"name": "http", "port": PORT, "targetPort": "http"}]
    return _owned(
        "v1", "Service", name, owner, selector, {"spec": {"selector": selector["matchLabels"], "ports": ports}}
    )


def weights_of(name: str, weights: Mapping[str, int], owner: Object) -> Object:
    """What each pod of the edge mounts."""
    return _owned("v1", "ConfigMap", name, owner, {}, {"data": {WEIGHTS: json.dumps(weights)}})


def target_of(service: str, namespace: str) -> str:
    """As the edge knows it."""
    return f"{service}.{namespace}.svc.cluster.local:{PORT}"


def services_of(deployments: Iterable[Object]) -> list[str]:
    """Those whose canary's web program is among them."""
    names = (each["metadata"]["name"] for each in deployments if MADE_OF in each["metadata"].get("annotations", {}))
    return [name.removesuffix("-web-canary") for name in names]


def is_edge(pod: Object, web: Object | None) -> bool:
    """Of the release to which this stable web program belongs."""
    labels = pod["metadata"].get("labels", {})
    own = web["spec"]["template"]["metadata"]["labels"].get(INSTANCE) if web else None
    return bool(labels.items() >= EDGE.items() and labels.get(INSTANCE) == own)


def is_as(found: Object | None, wanted: Object) -> bool:
    """Whether the operator has made it so, and nobody has changed it."""
    return bool(found and _contains(found, wanted))


def has_rolled_out(deployment: Object) -> bool:
    """As `kubectl rollout status`."""
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    updated, all_ = status.get("updatedReplicas", 0), status.get("replicas", 0)
    is_observed = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    return bool(is_observed and wanted <= updated and all_ <= updated <= status.get("availableReplicas", 0))


def is_available(deployment: Object) -> bool:
    """At least a pod of it."""
    return bool(deployment.get("status", {}).get("availableReplicas"))


def pods_of(deployment: Object, pods: Iterable[Object]) -> list[Object]:
    labels = deployment["spec"]["selector"]["matchLabels"].items()
    return [each for each in pods if labels <= each["metadata"].get("labels", {}).items()]


def failure_of(deployment: Object) -> str:
    """Of its rollout; empty while there is hope."""
    status = deployment.get("status", {})
    if status.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return ""
    is_late = (
        (each["type"], each.get("reason")) == ("Progressing", "ProgressDeadlineExceeded")
        for each in status.get("conditions", [])
    )
    return f"{deployment['metadata']['name']} does not get ready" if any(is_late) else ""


def replicas_of(deployment: Object, role: str, weight: int) -> int:
    """Requests are shared by the edge, messages by consumers, who take alike: never more than the weight, so at times none.

    Nor more than the stable release has: for 95 % it would be 19 times as many.
    """
    stable = int(deployment["spec"].get("replicas", 1))
    if role == "web":
        return max(1, math.ceil(stable * weight / 100))
    return stable if weight >= 50 else stable * weight // (100 - weight)


# --- inside


def _program(deployment: Object) -> Object:
    container: Object = deployment["spec"]["template"]["spec"]["containers"][0]
    return container


def _contains(found: Any, wanted: Any) -> bool:
    """The API server adds defaults to what it is given, and leaves out what is empty."""
    if found is None and not wanted:
        return True
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(_contains(found.get(name), each) for name, each in wanted.items())
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(_contains, found, wanted))
    return bool(found == wanted)


def _renamed(value: Any, role: str) -> Any:
    if isinstance(value, dict):
        renamed = {name: _renamed(each, role) for name, each in value.items()}
        return renamed | {COMPONENT: f"{role}-canary"} if value.get(COMPONENT) == role else renamed
    return [_renamed(each, role) for each in value] if isinstance(value, list) else value


def _owned(version: str, kind: str, name: str, owner: Object, selector: Object, content: Object) -> Object:
    """Kubernetes deletes it with its owner: with its Canary, its pods would end while the edge still sends them requests."""
    reference = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
    }
    made_of = json.dumps([reference, content], sort_keys=True)
    metadata = {
        "name": name,
        "labels": {**selector.get("matchLabels", {}), "app.kubernetes.io/part-of": "souk"},
        "annotations": {MADE_OF: hashlib.sha256(made_of.encode()).hexdigest()},
        "ownerReferences": [reference],
    }
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **content}
