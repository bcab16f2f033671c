"""Canary on a real API server."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from operators.canary import figures as canary_figures
from operators.canary.objects import COMPONENT, EDGE, INSTANCE, WEIGHTS, target_of
from operators.reconciler import time_of
from tests.installation import until
from tests.kubernetes import KubernetesServer, Refused
from tests.operators.canary import (
    APPS,
    CANARY,
    INTERVAL_SECONDS,
    LONG_AGO,
    LONG_SECONDS,
    SERVICE,
    WAIT_SECONDS,
    Cluster,
    a_canary,
    a_service,
    images,
    measured,
    soon,
    stable,
    weights,
)
from tests.operators.conftest import RULES, Figures, Namespace, Start

pytestmark = pytest.mark.kubernetes

ALIKE = {"v1": (1_000, 2, 20), "v2": (200, 0, 4)}
BAD, SLOW = {**ALIKE, "v2": (200, 40, 0)}, {**ALIKE, "v2": (200, 0, 100)}
ALL = {"web", "worker"}


@pytest.fixture
def cluster(namespace: Namespace, figures: Figures) -> Iterator[Cluster]:
    a_service(namespace, web=2, worker=2)
    measured(figures, namespace, **ALIKE)
    found = Cluster(namespace)
    yield found
    found.stop()


def comes_to(namespace: Namespace, reason: str) -> None:
    until(soon(lambda: namespace.reason(CANARY) == reason), WAIT_SECONDS)


def waits_for(namespace: Namespace) -> str:
    waiting: str = namespace.condition(CANARY).get("message", "").partition("; waits for ")[2]
    return waiting


def is_gone(namespace: Namespace) -> bool:
    names = {each["metadata"]["name"] for each in namespace.get("services", "v1")["items"]}
    return images(namespace).keys() == stable("").keys() and f"{SERVICE}-canary" not in names


def test_it_takes_over_step_by_step(namespace: Namespace, cluster: Cluster, start: Start) -> None:
    # Neither is asked: the edge of something else, and a pod on a node that is gone.
    cluster.edge_pod("other", 1, labels={**EDGE, INSTANCE: "other"})
    cluster.edge_pod("gateway-lost", 1, is_ready=False)
    a_canary(namespace)
    start()
    comes_to(namespace, "Promoted")
    until(lambda: is_gone(namespace), WAIT_SECONDS)
    assert images(namespace) == stable("souk:2")
    assert cluster.percents() == [0, 5, 25, 50, 0]
    # No request before a pod is ready, and of two workers no third of the messages.
    assert all(web for percent, web, _ in cluster.seen if percent)
    assert {workers for percent, _, workers in cluster.seen if percent == 5} == {0}
    assert max(workers for *_, workers in cluster.seen) == 2
    assert weights(namespace) == {}
    template = namespace.get(f"deployments/{SERVICE}-web", APPS)["spec"]["template"]
    assert template["metadata"]["labels"]["app.kubernetes.io/version"] == "2"
    assert template["spec"]["containers"][0]["env"] == [{"name": "SOUK_VERSION", "value": "2"}]
    conditions = {each["type"]: each["status"] for each in namespace.get(CANARY)["status"]["conditions"]}
    assert conditions == {"Ready": "True", "Stalled": "False"}
    expected = ["Starting", *["Judging"] * 3, "Promoting", "Draining", "Promoted"]
    until(lambda: sorted(namespace.events()) == sorted(expected), WAIT_SECONDS)


@pytest.mark.parametrize(
    ("figures_of", "why"), [(BAD, "20.0% of 200 requests failed"), (SLOW, "50.0% of 200 requests")]
)
def test_a_worse_one_is_rolled_back_and_says_why(
    namespace: Namespace, figures: Figures, cluster: Cluster, start: Start, figures_of: dict[str, Any], why: str
) -> None:
    measured(figures, namespace, **figures_of)
    a_canary(namespace)
    operators = start()
    comes_to(namespace, "RolledBack")
    until(lambda: is_gone(namespace), WAIT_SECONDS)
    assert images(namespace) == stable("souk:1")
    assert namespace.generation(f"{SERVICE}-web") == 1
    assert cluster.percents() == [0, 5, 0]
    condition = namespace.condition(CANARY)
    assert why in condition["message"]
    assert namespace.get(CANARY)["status"]["conditions"][0]["type"] == "Stalled"
    until(lambda: "RolledBack" in namespace.events(), WAIT_SECONDS)
    metric = f'souk_operator_reason{{kind="canaries",name="{SERVICE}",reason="RolledBack"}} 1.0'
    until(lambda: metric in operators.get("/metrics")[1], WAIT_SECONDS)
    # Not again by itself.
    measured(figures, namespace, **ALIKE)
    a_canary(namespace, intervalSeconds=INTERVAL_SECONDS + 1)
    until(lambda: is_observed(namespace), WAIT_SECONDS)
    assert namespace.reason(CANARY) == "RolledBack"
    a_canary(namespace, attempt=1)
    comes_to(namespace, "Promoted")
    until(lambda: metric not in operators.get("/metrics")[1], WAIT_SECONDS)
    assert images(namespace).items() >= stable("souk:2").items()


def test_one_that_ends_is_rolled_back_though_it_counted_no_error(
    namespace: Namespace, cluster: Cluster, start: Start
) -> None:
    now = datetime.now(UTC)
    cluster.canary_pod("orders-web-canary-before", ended_at=now - timedelta(minutes=1))
    cluster.canary_pod("orders-web-canary-since", ended_at=now + timedelta(hours=1))
    a_canary(namespace)
    start()
    comes_to(namespace, "RolledBack")
    assert namespace.condition(CANARY)["message"].endswith("a program has ended in orders-web-canary-since")
    assert cluster.percents() == [0, 5, 0]


def test_one_that_does_not_stay_ready_is_rolled_back(namespace: Namespace, cluster: Cluster, start: Start) -> None:
    cluster.canary_pod("orders-web-canary-1", unready_since=LONG_AGO)
    a_canary(namespace, limits={"failures": 1})
    start()
    comes_to(namespace, "RolledBack")
    assert namespace.condition(CANARY)["message"].endswith("orders-web-canary-1 is not ready")


def test_one_that_the_edge_does_not_reach_is_rolled_back(
    namespace: Namespace, figures: Figures, cluster: Cluster, start: Start
) -> None:
    figures.values[canary_figures.unreachable(namespace.name, target_of(f"{SERVICE}-canary", namespace.name))] = 1
    a_canary(namespace, limits={"failures": 1})
    start()
    comes_to(namespace, "RolledBack")
    assert namespace.condition(CANARY)["message"].endswith("an edge does not reach it")
    assert cluster.percents() == [0, 5, 0]


def test_what_is_changed_by_hand_meanwhile(namespace: Namespace, cluster: Cluster, start: Start) -> None:
    a_canary(namespace, steps=[50], intervalSeconds=LONG_SECONDS)
    start()
    begins(namespace)
    # Its steps: what was measured counts no longer.
    a_canary(namespace, steps=[25], intervalSeconds=LONG_SECONDS)
    until(lambda: cluster.percents()[-1] == 25, WAIT_SECONDS)
    begins(namespace)
    # What the operator makes is made again.
    shares = weights(namespace)
    namespace.patch(f"configmaps/{SERVICE}-weights", {"data": {WEIGHTS: "{}"}}, "v1")
    until(lambda: weights(namespace) == shares, WAIT_SECONDS)
    selector = namespace.get(f"services/{SERVICE}-canary", "v1")["spec"]["selector"]
    namespace.patch(f"services/{SERVICE}-canary", {"spec": {"selector": {COMPONENT: "web"}}}, "v1")
    until(soon(lambda: namespace.get(f"services/{SERVICE}-canary", "v1")["spec"]["selector"] == selector), WAIT_SECONDS)
    namespace.patch(f"deployments/{SERVICE}-web-canary", {"spec": {"replicas": 0}}, APPS)
    until(lambda: namespace.replicas(f"{SERVICE}-web-canary") == 1, WAIT_SECONDS)
    # Another release of the stable programs is somebody's will.
    container = {"name": "worker", "image": "souk:9"}
    namespace.patch(f"deployments/{SERVICE}-web", {"spec": {"template": {"spec": {"containers": [container]}}}}, APPS)
    comes_to(namespace, "RolledBack")
    until(lambda: is_gone(namespace), WAIT_SECONDS)
    assert "somebody else gave souk:9" in namespace.condition(CANARY)["message"]
    assert images(namespace) == {f"{SERVICE}-web": "souk:9", f"{SERVICE}-worker": "souk:1"}


def begins(namespace: Namespace) -> None:
    until(lambda: namespace.get(CANARY).get("status", {}).get("begunAt"), WAIT_SECONDS)


def is_observed(namespace: Namespace) -> bool:
    found = namespace.get(CANARY)
    return bool(found["status"]["observedGeneration"] == found["metadata"]["generation"])


def test_without_figures_it_waits_and_goes_back(
    namespace: Namespace, figures: Figures, cluster: Cluster, start: Start
) -> None:
    measured(figures, namespace, v1=(1_000, 0, 0), v2=(99, 0, 0))
    a_canary(namespace, steps=[5, 50], limits={"inconclusive": 2, "errors": 2})
    start()
    comes_to(namespace, "RolledBack")
    assert "has 99 of the 100 requests" in namespace.condition(CANARY)["message"]
    assert namespace.get(CANARY)["status"]["tally"] == {"failures": 0, "inconclusive": 2, "errors": 0}
    figures.is_broken = True
    a_canary(namespace, steps=[5, 50], limits={"inconclusive": 2, "errors": 2}, attempt=1)
    until(lambda: "could not be measured" in namespace.condition(CANARY)["message"], WAIT_SECONDS)
    comes_to(namespace, "RolledBack")
    assert namespace.get(CANARY)["status"]["tally"] == {"failures": 0, "inconclusive": 2, "errors": 2}
    assert set(cluster.percents()) == {0, 5}


def test_nothing_is_judged_before_each_edge_has_the_weights(
    namespace: Namespace, figures: Figures, cluster: Cluster, start: Start
) -> None:
    cluster.held_back = {"gateway-b"}
    a_canary(namespace, steps=[50], intervalSeconds=LONG_SECONDS)
    start()
    until(lambda: waits_for(namespace) == "gateway-b", WAIT_SECONDS)
    assert namespace.reason(CANARY) == "Starting"
    cluster.held_back = set()
    comes_to(namespace, "Judging")
    # And its pods stay while one edge still sends them requests.
    until(lambda: cluster.percents()[-1:] == [50], WAIT_SECONDS)
    cluster.held_back = {"gateway-b"}
    a_canary(namespace, steps=[50], image="souk:1", version="1", intervalSeconds=LONG_SECONDS)
    until(lambda: waits_for(namespace) == "gateway-b" and namespace.reason(CANARY) == "RollingBack", WAIT_SECONDS)
    until(lambda: f"{SERVICE}-worker-canary" not in images(namespace), WAIT_SECONDS)
    assert f"{SERVICE}-web-canary" in images(namespace)
    cluster.held_back = set()
    comes_to(namespace, "Promoted")
    until(lambda: is_gone(namespace), WAIT_SECONDS)
    assert images(namespace) == stable("souk:1")


def test_blue_green_is_looked_at_switched_at_once_and_switched_back(
    namespace: Namespace, figures: Figures, cluster: Cluster, start: Start
) -> None:
    a_canary(namespace, strategy="BlueGreen", hold=True)
    start()
    comes_to(namespace, "Preview")
    assert images(namespace).keys() == {*stable(""), f"{SERVICE}-web-canary"}
    service = namespace.get(f"services/{SERVICE}-canary", "v1")["spec"]["selector"]
    pods = namespace.get(f"deployments/{SERVICE}-web-canary", APPS)["spec"]
    assert service.items() <= pods["template"]["metadata"]["labels"].items()
    assert pods["replicas"] == 2
    a_canary(namespace, strategy="BlueGreen", intervalSeconds=LONG_SECONDS)
    until(lambda: cluster.percents()[-1:] == [100], WAIT_SECONDS)
    # An autoscaler sees idle pods.
    namespace.patch(f"deployments/{SERVICE}-web", {"spec": {"replicas": 1}}, APPS)
    # The old colour has not stopped.
    a_canary(namespace, strategy="BlueGreen", image="souk:1", version="1")
    comes_to(namespace, "Promoted")
    assert cluster.percents() == [0, 100, 0]
    assert images(namespace).items() >= stable("souk:1").items()
    assert max(pods for _, pods, _ in cluster.seen) == namespace.replicas(f"{SERVICE}-web") == 2
    # Judged beside the stable release's last requests.
    figures.answer = lambda query: _last(figures, query)
    a_canary(namespace, strategy="BlueGreen", version="3", image="souk:3")
    until(lambda: images(namespace).items() >= stable("souk:3").items(), WAIT_SECONDS)
    comes_to(namespace, "Promoted")
    assert cluster.percents() == [0, 100, 0, 100, 0]


def _last(figures: Figures, query: str) -> float | None:
    """Of a release that got its last request before a switch, and since then none."""
    if "kong" in query:
        return None
    is_now = "offset" not in query.partition(" - (")[0]
    if 'version="1"' in query and is_now and "flask" in query:
        return 0
    if "status=~" in query or "outcome=~" in query:
        return 0
    return 1_000


@pytest.mark.parametrize("why", ["orders-web-canary is not ready", "an edge does not reach it"])
def test_a_colour_that_leaves_all_requests_unanswered_is_not_judged_first(
    namespace: Namespace, figures: Figures, cluster: Cluster, start: Start, why: str
) -> None:
    a_canary(namespace, strategy="BlueGreen", intervalSeconds=LONG_SECONDS)
    start()
    begins(namespace)
    if "edge" in why:
        # Some time ago, so that this has been measured since.
        status = {"begunAt": time_of(datetime.now(UTC) - timedelta(minutes=2))}
        namespace.patch(f"{CANARY}/status", {"status": status})
        target = target_of(f"{SERVICE}-canary", namespace.name)
        figures.values[canary_figures.unreachable(namespace.name, target)] = 1
    else:
        status = {"readyReplicas": 0, "availableReplicas": 0}
        namespace.patch(f"deployments/{SERVICE}-web-canary/status", {"status": status}, APPS)
    comes_to(namespace, "RolledBack")
    assert namespace.condition(CANARY)["message"].endswith(why)
    until(lambda: is_gone(namespace), WAIT_SECONDS)
    assert (images(namespace), cluster.percents()) == (stable("souk:1"), [0, 100, 0])


def test_what_never_gets_ready_gets_no_request(namespace: Namespace, cluster: Cluster, start: Start) -> None:
    cluster.held_back = {f"{SERVICE}-web-canary"}
    a_canary(namespace)
    start()
    until(lambda: waits_for(namespace) == f"{SERVICE}-web-canary", WAIT_SECONDS)
    is_late(namespace, f"{SERVICE}-web-canary")
    comes_to(namespace, "RolledBack")
    assert "orders-web-canary does not get ready" in namespace.condition(CANARY)["message"]
    assert cluster.percents() == [0]


def is_late(namespace: Namespace, name: str) -> None:
    """As the controller reports after progressDeadlineSeconds."""
    condition = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    status = {"observedGeneration": namespace.generation(name), "conditions": [condition]}
    namespace.patch(f"deployments/{name}/status", {"status": status}, APPS)


def test_stable_programs_that_do_not_start_with_it_get_theirs_back(
    namespace: Namespace, cluster: Cluster, start: Start
) -> None:
    a_canary(namespace, steps=[50])
    cluster.held_back = {f"{SERVICE}-worker"}
    start()
    until(lambda: images(namespace).items() >= stable("souk:2").items(), WAIT_SECONDS)
    assert namespace.reason(CANARY) == "Promoting"
    # Nothing that is refused meanwhile keeps them from it.
    patches = [rule for rule in RULES if rule["verbs"] == ["patch"]]
    namespace.account.grant([rule for rule in RULES if rule not in patches])
    until(lambda: not namespace.account.may("patch", "", "pods"))
    is_late(namespace, f"{SERVICE}-worker")
    until(lambda: images(namespace).items() >= stable("souk:1").items(), WAIT_SECONDS)
    namespace.account.grant(RULES)
    cluster.held_back = set()
    comes_to(namespace, "RolledBack")


@pytest.mark.long
@pytest.mark.parametrize("point", ["status written", "an object changed"])
def test_killed_in_each_step_it_goes_on(
    namespace: Namespace, cluster: Cluster, start: Start, tmp_path: Path, point: str
) -> None:
    a_canary(namespace, steps=[50])
    file, deaths = tmp_path / f"operators: outside: {point}", 0
    for stage in ("Starting", "Judging", "Promoting"):
        operators = start()
        until(lambda stage=stage: namespace.reason(CANARY) in (stage, "Promoted"), WAIT_SECONDS)
        # What comes next, or what is done for it, is cut off.
        file.touch()
        until(lambda it=operators: not it.is_alive() or is_done(namespace), WAIT_SECONDS)
        deaths += operators.process.poll() == -9
    file.unlink(missing_ok=True)
    start()
    until(lambda: is_done(namespace), WAIT_SECONDS)
    assert deaths >= 2
    assert images(namespace) == stable("souk:2")
    assert (namespace.generation(f"{SERVICE}-web"), weights(namespace)) == (2, {})


@pytest.mark.long
def test_killed_while_it_goes_back_it_goes_on(
    namespace: Namespace, figures: Figures, cluster: Cluster, start: Start, tmp_path: Path
) -> None:
    # Not promoted before an edge is held back.
    measured(figures, namespace, v1=(1, 0, 0), v2=(1, 0, 0))
    a_canary(namespace, steps=[50], limits={"failures": 1})
    operators, file = start(), tmp_path / "operators: outside: status written"
    until(lambda: cluster.percents()[-1:] == [50], WAIT_SECONDS)
    cluster.held_back = {"gateway-b"}
    measured(figures, namespace, **BAD)
    comes_to(namespace, "RollingBack")
    for _ in range(2):
        file.touch()
        until(lambda it=operators: not it.is_alive(), WAIT_SECONDS)
        operators = start()
    cluster.held_back = set()
    comes_to(namespace, "RolledBack")
    until(lambda: is_gone(namespace), WAIT_SECONDS)
    assert images(namespace) == stable("souk:1")
    assert weights(namespace) == {}


def is_done(namespace: Namespace) -> bool:
    return namespace.reason(CANARY) == "Promoted" and is_gone(namespace)


def test_of_two_one_acts(namespace: Namespace, cluster: Cluster, start: Start) -> None:
    a_canary(namespace, steps=[5, 50])
    start(), start()
    comes_to(namespace, "Promoted")
    until(lambda: is_gone(namespace), WAIT_SECONDS)
    assert (namespace.generation(f"{SERVICE}-web"), namespace.generation(f"{SERVICE}-worker")) == (2, 2)
    assert cluster.percents() == [0, 5, 50, 0]
    expected = ["Draining", "Judging", "Judging", "Promoted", "Promoting", "Starting"]
    until(lambda: sorted(namespace.events()) == expected, WAIT_SECONDS)


def test_it_goes_on_after_the_api_server_is_restarted(
    kubernetes: KubernetesServer, namespace: Namespace, cluster: Cluster, start: Start
) -> None:
    a_canary(namespace, steps=[5, 50])
    start()
    comes_to(namespace, "Judging")
    kubernetes.server.kill("kube-apiserver")
    kubernetes.server.start()
    comes_to(namespace, "Promoted")
    assert cluster.percents() == [0, 5, 50, 0]


def deleted_without_an_operator(namespace: Namespace, cluster: Cluster, start: Start, **spec: Any) -> None:
    """At its full weight."""
    a_canary(namespace, intervalSeconds=LONG_SECONDS, **spec)
    operators = start()
    begins(namespace)
    operators.end()
    namespace.server.request("DELETE", namespace.path(CANARY))
    with pytest.raises(Refused, match="404"):
        namespace.get(CANARY)


def test_deleted_in_the_middle_its_pods_stay_until_no_edge_sends_them_requests(
    namespace: Namespace, cluster: Cluster, start: Start
) -> None:
    deleted_without_an_operator(namespace, cluster, start, strategy="BlueGreen")
    # Kubernetes would delete at once what belonged to it.
    uid = namespace.get(f"deployments/{SERVICE}-web", APPS)["metadata"]["uid"]
    made = [(f"deployments/{SERVICE}-{role}-canary", APPS) for role in ALL]
    for resource, version in [*made, (f"services/{SERVICE}-canary", "v1"), (f"configmaps/{SERVICE}-weights", "v1")]:
        metadata = namespace.get(resource, version)["metadata"]
        assert [each["uid"] for each in metadata["ownerReferences"]] == [uid], resource
        assert "finalizers" not in metadata
    # An autoscaler sees idle pods.
    namespace.patch(f"deployments/{SERVICE}-web", {"spec": {"replicas": 1}}, APPS)
    cluster.held_back = {"gateway-b"}
    operators = start()
    metric = f'souk_operator_reason{{kind="canaries",name="{SERVICE}",reason="RollingBack"}} 1.0'
    until(lambda: metric in operators.get("/metrics")[1], WAIT_SECONDS)
    until(lambda: not cluster.weights["gateway-a"], WAIT_SECONDS)
    until(lambda: images(namespace).keys() == {*stable(""), f"{SERVICE}-web-canary"}, WAIT_SECONDS)
    assert not is_gone(namespace)
    cluster.held_back = set()
    until(lambda: is_gone(namespace), WAIT_SECONDS)
    assert (images(namespace), namespace.replicas(f"{SERVICE}-web")) == (stable("souk:1"), 2)
    assert cluster.percents() == [0, 100, 0]
    assert all(web for percent, web, _ in cluster.seen if percent)
    until(lambda: metric not in operators.get("/metrics")[1], WAIT_SECONDS)


@pytest.mark.parametrize(("version", "beside"), [("3", "souk:3"), ("1", None)])
def test_made_anew_it_first_ends_what_the_one_before_it_gets(
    namespace: Namespace, cluster: Cluster, start: Start, version: str, beside: str | None
) -> None:
    deleted_without_an_operator(namespace, cluster, start, steps=[50])
    cluster.held_back = {"gateway-b"}
    a_canary(namespace, image=f"souk:{version}", version=version)
    start()
    until(lambda: waits_for(namespace) == "gateway-b", WAIT_SECONDS)
    assert images(namespace)[f"{SERVICE}-web-canary"] == "souk:2"
    cluster.held_back = set()
    until(lambda: images(namespace).get(f"{SERVICE}-web-canary") == beside, WAIT_SECONDS)


def test_a_missing_deployment_is_waited_for(namespace: Namespace, figures: Figures, start: Start) -> None:
    a_canary(namespace, image="souk:1", version="1")
    start()
    comes_to(namespace, "DeploymentMissing")
    a_service(namespace, web=1)
    comes_to(namespace, "Promoted")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": [25, 5]}, "each step is larger"),
        ({"steps": [5, 5]}, "duplicate entries"),
        ({"steps": [100]}, "should be less than or equal to 99"),
        ({"version": 'a"}'}, "should match"),
        ({"strategy": "Big bang"}, "Unsupported value"),
        ({"limits": {"failures": 0}}, "should be greater than or equal to 1"),
        ({"attempt": 0}, "attempt may only be raised"),
        ({"weight": 5}, "field not declared"),
    ],
)
def test_wrong_specs_are_refused(namespace: Namespace, wrong: dict[str, Any], message: str) -> None:
    if "attempt" in wrong:
        a_canary(namespace, attempt=1)
    with pytest.raises(Refused, match=message):
        a_canary(namespace, **wrong)


def test_it_has_the_name_of_a_service(namespace: Namespace) -> None:
    with pytest.raises(Refused, match="name of its service"):
        namespace.make("Canary", "orders.v2", image="souk:2", version="2")


def test_kubectl_shows_how_far_it_is(namespace: Namespace, figures: Figures, cluster: Cluster, start: Start) -> None:
    measured(figures, namespace, **BAD)
    a_canary(namespace, limits={"failures": 100})
    start()
    until(lambda: "Failed" in namespace.get(CANARY).get("status", {}).get("why", ""), WAIT_SECONDS)
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    table = namespace.server.request("GET", namespace.path(CANARY), accept=accept)
    names = [column["name"] for column in table["columnDefinitions"]]
    [row] = table["rows"]
    shown = dict(zip(names, row["cells"], strict=True))
    assert [shown[name] for name in ("Version", "Before", "Weight", "Reason")] == ["2", "1", 5, "Judging"]
    assert re.match(r"Failed: 20.0% of 200 requests failed", shown["Why"])
