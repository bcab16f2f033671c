"""The operators have exactly the rights that they need."""

import re
from pathlib import Path
from typing import Any

import pytest

from operators.canary.objects import EDGE
from tests.installation import until
from tests.kubernetes import KubernetesServer
from tests.operators.canary import a_service
from tests.operators.conftest import RULES, Figures, Namespace, Operators, Start, a_namespace
from tests.operators.test_keyring import a_keyring, secrets
from tests.operators.test_scaler import WAIT_SECONDS, a_scaler, measured

pytestmark = pytest.mark.kubernetes

WATCHED = ("consumerscalers", "keyrings", "canaries")


def without(verb: str, resource: str) -> list[Any]:
    changed = [
        {**rule, "verbs": [each for each in rule["verbs"] if each != verb]} if resource in rule["resources"] else rule
        for rule in RULES
    ]
    return [rule for rule in changed if rule["verbs"]]


VERBS = [(verb, resource) for rule in RULES for resource in rule["resources"] for verb in rule["verbs"]]
TO_SEE = [(verb, resource) for verb, resource in VERBS if resource in WATCHED]
TO_ACT = [each for each in VERBS if each not in TO_SEE]


def test_every_right_to_see_the_resources_is_needed(
    kubernetes: KubernetesServer, our_kinds: None, figures: Figures, tmp_path: Path
) -> None:
    """Side by side, as a process that misses one asks again for half a minute before it ends."""
    running: dict[tuple[str, str], Operators] = {}
    try:
        for verb, resource in TO_SEE:
            folder = tmp_path / f"{verb}-{resource}"
            namespace = a_namespace(kubernetes, folder, without(verb, resource))
            running[verb, resource] = Operators(namespace, figures, folder, interval_seconds=0.2)
        for (verb, resource), operators in running.items():
            assert operators.process.wait(WAIT_SECONDS) != 0
            assert re.search(rf"cannot {verb} resource \W*{resource}\b", operators.log.read_text())
    finally:
        for each in running.values():
            each.end()


@pytest.mark.parametrize(
    ("rules", "verb", "resource"), [(without(*each), *each) for each in TO_ACT], ids=[" ".join(each) for each in TO_ACT]
)
def test_every_right_to_act_is_needed(
    namespace: Namespace, figures: Figures, start: Start, rules: list[Any], verb: str, resource: str
) -> None:
    namespace.deployment("orders-worker", 1)
    measured(figures, namespace, consumed=16, busy=1.6)
    a_scaler(namespace)
    secrets(namespace)
    a_keyring(namespace, rotation=1)
    canaries(namespace)
    operators = start()
    until(lambda: operators.failures() > 0, WAIT_SECONDS)
    last = resource.rpartition("/")[2]
    assert re.search(rf"403: \S+ \S+/{last}\b", operators.log.read_text())


def canaries(namespace: Namespace) -> None:
    """One in each state from which something is to be done, and an edge that does not respond."""
    namespace.apply(
        "v1", "Pod", "gateway", EDGE, {"nodeName": "node", "containers": [{"name": "keys", "image": "souk"}]}
    )
    for service, stage in STAGES.items():
        # Only what it has released is taken back.
        a_service(namespace, service, version=2 if stage == "RollingBack" else 1, web=1, worker=1)
        namespace.make("Canary", service, image="souk:2", version="2")
        if stage:
            # It is rolled back once the edge sends nothing more to its pods.
            if stage != "RolledBack":
                namespace.deployment(f"{service}-worker-canary", 1)
            namespace.apply("v1", "Service", f"{service}-canary", {}, {"ports": [{"port": 1}]})
            release = {"image": "souk:0", "version": "0"}
            status = {"image": "souk:2", "version": "2", "attempt": 0, "before": release, "stage": stage, "step": 0}
            status |= {"weight": 0, "why": "", "tally": {"failures": 0, "inconclusive": 0, "errors": 0}}
            namespace.patch(f"canaries/{service}/status", {"status": status})
        if stage == "RollingBack":
            namespace.apply("v1", "ConfigMap", f"{service}-weights", {})


STAGES = {"users": "", "notifications": "RollingBack", "payments": "Draining", "products": "RolledBack"}
