"""ConsumerScaler on a real API server."""

from pathlib import Path
from typing import Any

import pytest
import urllib3

from operators.scaler.scaler import queries
from tests.installation import until
from tests.kubernetes import KubernetesServer, Refused
from tests.operators.conftest import Figures, Namespace, Start

pytestmark = pytest.mark.kubernetes

SCALER = "consumerscalers/orders"
WAIT_SECONDS = 120


def measured(figures: Figures, namespace: Namespace, **values: float) -> None:
    values = {"ready": 0, "unacknowledged": 0, "growth": 0, "consumed": 0, "busy": 0, **values}
    expressions = queries("orders", {"namespace": namespace.name}, {"broker": "b"})
    figures.values = {expressions[name]: value for name, value in values.items()}


def a_scaler(namespace: Namespace, **spec: Any) -> None:
    limits = {"minReplicas": 1, "maxReplicas": 5, "holdSeconds": 0}
    named = {"deployment": "orders-worker", "queue": "orders", "brokerLabels": {"broker": "b"}}
    namespace.make("ConsumerScaler", "orders", **named | limits | spec)


def steps(namespace: Namespace) -> list[str]:
    """The events but those of figures that came late."""
    return sorted(each for each in namespace.events() if each.startswith("Scaled"))


def comes_to(namespace: Namespace, reason: str) -> None:
    until(lambda: namespace.reason(SCALER) == reason, WAIT_SECONDS)


def test_it_goes_up_at_once_and_down_one_by_one_once_the_queue_is_drained(
    namespace: Namespace, figures: Figures, start: Start
) -> None:
    namespace.deployment("orders-worker", 1)
    measured(figures, namespace, ready=100, unacknowledged=200, consumed=23, busy=2.3)
    a_scaler(namespace)
    start()
    # 23 and 5 a second, of 0.1 s each.
    until(lambda: namespace.replicas("orders-worker") == 4, WAIT_SECONDS)
    status = namespace.get(SCALER)["status"]
    assert (status["wanted"], status["backlog"]) == (4, 300)
    namespace.settle("orders-worker")
    comes_to(namespace, "AsWanted")
    # Fewer would do, but a message waits.
    measured(figures, namespace, ready=1, consumed=0.1, busy=0.01)
    comes_to(namespace, "MessagesWait")
    assert namespace.replicas("orders-worker") == 4
    measured(figures, namespace, consumed=0.1, busy=0.01)
    for left in (3, 2, 1):
        until(lambda left=left: namespace.replicas("orders-worker") == left, WAIT_SECONDS)
        if left > 1:
            # Its pod still stops.
            comes_to(namespace, "LastStepUnfinished")
            assert namespace.replicas("orders-worker") == left
        namespace.settle("orders-worker")
    comes_to(namespace, "AsWanted")
    until(lambda: steps(namespace) == ["ScaledDown"] * 3 + ["ScaledUp"], WAIT_SECONDS)


def test_without_figures_nothing_changes(namespace: Namespace, figures: Figures, start: Start) -> None:
    namespace.deployment("orders-worker", 3)
    a_scaler(namespace)
    start()
    comes_to(namespace, "NoData")
    assert namespace.condition(SCALER)["status"] == "Unknown"
    measured(figures, namespace, consumed=16, busy=1.6)
    comes_to(namespace, "AsWanted")
    figures.is_broken = True
    comes_to(namespace, "NoData")
    assert (namespace.replicas("orders-worker"), namespace.generation("orders-worker")) == (3, 1)
    # Unless there are fewer than the minimum.
    a_scaler(namespace, minReplicas=4)
    until(lambda: namespace.replicas("orders-worker") == 4, WAIT_SECONDS)


def test_pods_that_would_be_killed_with_work_in_progress_are_left_alone(
    namespace: Namespace, figures: Figures, start: Start
) -> None:
    namespace.deployment("orders-worker", 3, grace_seconds=30)
    measured(figures, namespace)
    a_scaler(namespace)
    start()
    comes_to(namespace, "GraceTooShort")
    until(lambda: "GraceTooShort" in namespace.events(), WAIT_SECONDS)
    assert namespace.replicas("orders-worker") == 3
    a_scaler(namespace, maxHandlingSeconds=30)
    until(lambda: namespace.replicas("orders-worker") == 2, WAIT_SECONDS)


def test_a_missing_deployment_is_waited_for(namespace: Namespace, figures: Figures, start: Start) -> None:
    measured(figures, namespace, consumed=16, busy=1.6)
    a_scaler(namespace)
    start()
    comes_to(namespace, "DeploymentMissing")
    namespace.deployment("orders-worker", 1)
    until(lambda: namespace.replicas("orders-worker") == 3, WAIT_SECONDS)


@pytest.mark.parametrize("step", ["status written", "acted"])
def test_killed_in_a_step_it_goes_on(
    namespace: Namespace, figures: Figures, start: Start, tmp_path: Path, step: str
) -> None:
    namespace.deployment("orders-worker", 1)
    measured(figures, namespace, consumed=16, busy=1.6)
    a_scaler(namespace)
    (tmp_path / f"operators: outside: {step}").touch()
    operators = start()
    assert operators.process.wait(WAIT_SECONDS) == -9
    start()
    until(lambda: namespace.replicas("orders-worker") == 3, WAIT_SECONDS)
    namespace.settle("orders-worker")
    comes_to(namespace, "AsWanted")
    assert namespace.generation("orders-worker") == 2


def test_of_two_one_acts(namespace: Namespace, figures: Figures, start: Start) -> None:
    namespace.deployment("orders-worker", 5)
    measured(figures, namespace)
    a_scaler(namespace)
    start(), start()
    for left in (4, 3, 2, 1):
        until(lambda left=left: namespace.replicas("orders-worker") == left, WAIT_SECONDS)
        namespace.settle("orders-worker")
    comes_to(namespace, "AsWanted")
    assert namespace.generation("orders-worker") == 5
    until(lambda: steps(namespace) == ["ScaledDown"] * 4, WAIT_SECONDS)


def test_it_goes_on_watching_after_the_api_server_is_restarted(
    kubernetes: KubernetesServer, namespace: Namespace, figures: Figures, start: Start
) -> None:
    namespace.deployment("orders-worker", 1)
    measured(figures, namespace)
    a_scaler(namespace)
    # Only a watch wakes it.
    operators = start(interval_seconds=3_600)
    comes_to(namespace, "AsWanted")
    a_scaler(namespace, minReplicas=2)
    until(lambda: namespace.replicas("orders-worker") == 2, WAIT_SECONDS)
    version = namespace.get("consumerscalers")["metadata"]["resourceVersion"]
    # Later versions, of which a new server knows no history.
    for name in "abc":
        namespace.deployment(name, 1)
    kubernetes.server.kill("kube-apiserver")
    kubernetes.server.start()
    until(lambda: is_gone(namespace, version), WAIT_SECONDS)
    a_scaler(namespace, minReplicas=3)
    until(lambda: namespace.replicas("orders-worker") == 3, WAIT_SECONDS)
    assert operators.is_alive()


def is_gone(namespace: Namespace, version: str) -> bool:
    """False while the server starts."""
    try:
        watch = namespace.get(f"consumerscalers?watch=1&resourceVersion={version}&timeoutSeconds=2")
    except Refused as refused:
        return refused.status == 410
    except (urllib3.exceptions.HTTPError, ValueError):
        return False
    return bool(watch["object"]["code"] == 410)


def test_without_its_operator_a_resource_can_be_deleted(
    kubernetes: KubernetesServer, namespace: Namespace, figures: Figures, start: Start
) -> None:
    namespace.deployment("orders-worker", 1)
    measured(figures, namespace)
    a_scaler(namespace)
    operators = start()
    comes_to(namespace, "AsWanted")
    operators.end()
    assert "finalizers" not in namespace.get(SCALER)["metadata"]
    kubernetes.request("DELETE", namespace.path(SCALER))
    with pytest.raises(Refused, match="404"):
        namespace.get(SCALER)


def test_it_lives_as_long_as_its_rounds_finish(namespace: Namespace, start: Start) -> None:
    operators = start()
    until(lambda: operators.get("/health/ready")[0] == 200, WAIT_SECONDS)
    operators.end()
    assert operators.process.returncode == 0, operators.log.read_text()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"minReplicas": 6}, "minReplicas may not exceed maxReplicas"),
        ({"maxReplicas": 0}, "should be greater than or equal to 1"),
        ({"queue": 'a"}'}, "should match"),
        ({"replicas": 2}, "field not declared"),
        ({"brokerLabels": {"a-b": "c"}}, "brokerLabels are names of labels"),
        ({"brokerLabels": {"a": 'b"}'}}, "should match"),
    ],
)
def test_wrong_specs_are_refused(namespace: Namespace, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused, match=message):
        a_scaler(namespace, **wrong)


def test_kubectl_shows_its_reason(namespace: Namespace, figures: Figures, start: Start) -> None:
    namespace.deployment("orders-worker", 3)
    measured(figures, namespace, consumed=16, busy=1.6)
    a_scaler(namespace)
    start()
    comes_to(namespace, "AsWanted")
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    table = namespace.server.request("GET", namespace.path(SCALER), accept=accept)
    names = [column["name"] for column in table["columnDefinitions"]]
    [row] = table["rows"]
    shown = dict(zip(names, row["cells"], strict=True))
    assert [shown[name] for name in ("Queue", "Replicas", "Wanted", "Reason")] == ["orders", 3, 3, "AsWanted"]
