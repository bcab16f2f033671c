"""Applies the law to a Deployment of consumers."""

import math
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

from structlog import get_logger

from operators.kubernetes import Kubernetes, Missing, Object
from operators.prometheus import Query, Unmeasured
from operators.reconciler import Change, Event, Reconciler, conditions, reason_of, time_of
from operators.scaler.law import Decision, Limits, Load, Reason, Replicas, decide

log = get_logger(__name__)

CONDITION = "Scaling"
WINDOW = "2m"

QUERIES = {
    "ready": "max(rabbitmq_detailed_queue_messages_ready%s)",
    "unacknowledged": "max(rabbitmq_detailed_queue_messages_unacked%s)",
    "growth": f"max(deriv(rabbitmq_detailed_queue_messages%s[{WINDOW}]))",
    "consumed": f"sum(rate(souk_consumed_total%s[{WINDOW}]))",
    "busy": f"sum(rate(souk_consumer_busy_seconds_total%s[{WINDOW}]))",
}
OF_CONSUMERS = {"consumed", "busy"}

MISSING = "DeploymentMissing"
WARNINGS = {Reason.NO_DATA, Reason.GRACE_TOO_SHORT, MISSING}

DEFAULT_GRACE_SECONDS = 30
"""Kubernetes' own."""

MESSAGES = {
    Reason.NO_DATA: "Prometheus has no figures of the queue, so none stops",
    Reason.AS_WANTED: "there are as many as wanted",
    Reason.WAITING: "fewer would do once no message waits",
    Reason.HOLDING: "fewer would do; the queue has not been drained for long enough",
    Reason.SETTLING: "fewer would do; the last step is not finished",
    Reason.GRACE_TOO_SHORT: "fewer would do, but pods are killed before they have finished their messages: raise "
    "terminationGracePeriodSeconds to maxHandlingSeconds",
}


class ConsumerScaler(Reconciler):
    plural = "consumerscalers"

    def __init__(self, kubernetes: Kubernetes, query: Query) -> None:
        self._kubernetes, self._query = kubernetes, query

    def decide(self, resource: Object, now: datetime) -> Change:
        spec, status = resource["spec"], resource.get("status", {})
        generation = {"observedGeneration": resource["metadata"]["generation"]}
        try:
            deployment = self._kubernetes.deployment(spec["deployment"])
        except Missing:
            message = f"there is no deployment {spec['deployment']}"
            known = {"conditions": conditions(resource, CONDITION, False, MISSING, message, now), **generation}
            return Change(known, event=_event(resource, MISSING, message))
        namespace = {"namespace": resource["metadata"]["namespace"]}
        load = measure(self._query, queries(spec["queue"], namespace, spec.get("brokerLabels", namespace)))
        limits = Limits(
            spec["minReplicas"], spec["maxReplicas"], spec["concurrency"], spec["drainSeconds"], spec["holdSeconds"]
        )
        drained = status.get("drainedSince")
        replicas = replicas_of(deployment, spec["maxHandlingSeconds"])
        seconds = (now - datetime.fromisoformat(drained)).total_seconds() if drained else None
        decision = decide(load, replicas, seconds, limits)
        message = _message(decision, replicas.current)
        value = None if decision.reason == Reason.NO_DATA else decision.reason != Reason.GRACE_TOO_SHORT
        found: dict[str, Any] = {
            "replicas": decision.replicas,
            "conditions": conditions(resource, CONDITION, value, decision.reason, message, now),
            **generation,
        }
        if decision.is_drained:
            found["drainedSince"] = drained or time_of(now)
        if decision.wanted is not None and load is not None:
            found |= {"wanted": decision.wanted, "backlog": round(load.backlog)}
        act = None
        if decision.replicas != replicas.current:
            log.info(
                "consumers scaled", deployment=spec["deployment"], replicas=decision.replicas, before=replicas.current
            )
            act = partial(self._kubernetes.scale, deployment, decision.replicas)
        return Change(found, act, _event(resource, decision.reason, message))


def queries(queue: str, consumer_labels: Mapping[str, str], broker_labels: Mapping[str, str]) -> dict[str, str]:
    """By figure. Several shops may share a Prometheus, so labels tell their series apart."""

    def selector(name: str) -> str:
        labels = consumer_labels if name in OF_CONSUMERS else broker_labels
        return (
            "{" + ",".join(f'{label}="{value}"' for label, value in [*sorted(labels.items()), ("queue", queue)]) + "}"
        )

    return {name: expression % selector(name) for name, expression in QUERIES.items()}


def measure(query: Query, expressions: Mapping[str, str]) -> Load | None:
    try:
        found = {name: query(expression) for name, expression in expressions.items()}
    except Unmeasured as error:
        log.warning("queue not measured", reason=str(error))
        return None
    if not (math.isfinite(found["ready"]) and math.isfinite(found["unacknowledged"])):
        return None
    # Without consumers nothing is consumed, and the first moments show no growth.
    growth, consumed, busy = (
        found[name] if math.isfinite(found[name]) else 0.0 for name in ("growth", "consumed", "busy")
    )
    seconds = busy / consumed if consumed else None
    return Load(found["ready"], found["unacknowledged"], consumed + growth, seconds)


def replicas_of(deployment: Object, max_handling_seconds: int) -> Replicas:
    spec, status = deployment["spec"], deployment.get("status", {})
    current = spec.get("replicas", 1)
    settled = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"] and not status.get(
        "terminatingReplicas"
    )
    counts = {status.get(name, 0) for name in ("replicas", "updatedReplicas", "readyReplicas")}
    grace = spec["template"]["spec"].get("terminationGracePeriodSeconds", DEFAULT_GRACE_SECONDS)
    return Replicas(current, settled and counts == {current}, grace >= max_handling_seconds)


# --- inside


def _message(decision: Decision, before: int) -> str:
    return MESSAGES.get(decision.reason) or f"{before} to {decision.replicas} replicas, {decision.wanted} wanted"


def _event(resource: Object, reason: str, message: str) -> Event | None:
    """Of each step, and of each new trouble."""
    is_step = reason in (Reason.SCALED_UP, Reason.SCALED_DOWN)
    is_warning = reason in WARNINGS
    if is_step or (is_warning and reason != reason_of(resource, CONDITION)):
        return Event(reason, message, is_warning)
    return None
