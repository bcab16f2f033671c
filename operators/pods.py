"""What pods say of themselves, in /health/ready, and the API server of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import urllib3

from operators.kubernetes import Object

TIMEOUT = urllib3.Timeout(connect=1, read=3)
AT_ONCE = 16
"""Pods. One that hangs holds up few others."""

ENDED = ("Succeeded", "Failed")
PORTS = ("keys", "http")
"""Names of the port where a pod says it; the first that it has."""

OUT_OF_SERVICE = timedelta(minutes=1)
"""A pod that has not been ready for so long gets no more requests, and has finished those it had."""

Reports = Callable[[Sequence[Object]], list[Object]]


def is_running(pod: Object) -> bool:
    """Without a node it has loaded nothing yet. While it ends, it may still work."""
    return bool(pod["spec"].get("nodeName")) and pod.get("status", {}).get("phase") not in ENDED


def is_out_of_service(pod: Object, now: datetime) -> bool:
    """For example on a node that is gone."""
    since = _unready_at(pod)
    return since is not None and now - since > OUT_OF_SERVICE


def unready_since(pods: Iterable[Object], moment: datetime) -> list[str]:
    """Names of those that are not ready, though they have had the time since then; of a younger one it is not known yet."""
    return [
        each["metadata"]["name"]
        for each in pods
        if is_running(each)
        and not _is_leaving(each)
        and _unready_at(each)
        and _time(each["metadata"]["creationTimestamp"]) < moment
    ]


def ended_since(pods: Iterable[Object], moment: datetime) -> list[str]:
    """Names of those with a program that has ended since by itself, whether it runs again or not."""
    return [
        each["metadata"]["name"] for each in pods if not _is_leaving(each) and any(end >= moment for end in _ends(each))
    ]


def _is_leaving(pod: Object) -> bool:
    """As from a node that is drained."""
    return "deletionTimestamp" in pod["metadata"]


def _unready_at(pod: Object) -> datetime | None:
    """None for one that is ready, or that no kubelet has seen."""
    conditions = {each["type"]: each for each in pod.get("status", {}).get("conditions", [])}
    ready = conditions.get("Ready")
    return None if not ready or ready["status"] == "True" else _time(ready["lastTransitionTime"])


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _ends(pod: Object) -> Iterator[datetime]:
    for status in pod.get("status", {}).get("containerStatuses", []):
        for state in (status.get("state", {}), status.get("lastState", {})):
            if "terminated" in state:
                yield _time(state["terminated"]["finishedAt"])


def reports() -> Reports:
    """Of each pod; empty for one that does not respond."""
    pool = urllib3.PoolManager(timeout=TIMEOUT, retries=False)

    def of(pod: Object) -> Object:
        containers = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
        ports = {each.get("name"): each["containerPort"] for one in containers for each in one.get("ports", [])}
        port = next((ports[name] for name in PORTS if name in ports), None)
        address = pod.get("status", {}).get("podIP")
        if not port or not address:
            return {}
        host = f"[{address}]" if ":" in address else address
        try:
            body: Any = pool.request("GET", f"http://{host}:{port}/health/ready").json()
        except (OSError, urllib3.exceptions.HTTPError, ValueError):
            return {}
        return body if isinstance(body, dict) else {}

    def of_all(pods: Sequence[Object]) -> list[Object]:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            return list(threads.map(of, pods))

    return of_all
