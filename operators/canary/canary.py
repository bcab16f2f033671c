"""Applies the law to a service's Deployments, and to the weights at the edge."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from structlog import get_logger

from chassis.base import failpoints
from operators.canary import figures, objects
from operators.canary.objects import ROLES, has_rolled_out, is_as, is_available, is_edge, release_of
from operators.canary.rollout import Facts, Plan, Release, Rollout, Stage, Wish, after, begin
from operators.canary.status import event_of, message_of, rollout_of, status_of, step_of, without_deployment
from operators.canary.verdict import Limits, Result, Verdict, compare
from operators.kubernetes import Kubernetes, Object, Refused
from operators.pods import ended_since, is_out_of_service, is_running, reports, unready_since
from operators.prometheus import Query, Unmeasured
from operators.reconciler import Change, Reconciler

log = get_logger(__name__)

APPS = "apps/v1"
CONFIGURED = "souk.dev/weights"
"""Changed on a pod of the edge, its kubelet brings it the weights at once instead of within a minute."""

MAX_NAMED = 5
UNREACHED = "an edge does not reach it"

MEASURED = timedelta(minutes=1)
"""After a switch, until Prometheus has looked at what came of it, and no longer says what was before."""

Objects = Mapping[str, Object]


@dataclass(frozen=True)
class Want:
    is_so: bool
    do: Callable[[], None] | None = None
    waits_for: str = ""
    """What comes later is not done before it is so."""


@dataclass(frozen=True)
class Place:
    """What there is."""

    stable: Objects
    canaries: Objects
    """By role."""
    service: Object | None
    weights: Object | None
    pods: Sequence[Object]
    """Of the canaries."""
    edges: Sequence[Object]
    reports: Sequence[Object]


class Canary(Reconciler):
    plural = "canaries"

    def __init__(self, kubernetes: Kubernetes, query: Query) -> None:
        self._kubernetes, self._query = kubernetes, query
        self._reports = reports()

    def decide(self, resource: Object, now: datetime) -> Change:
        spec, name = resource["spec"], resource["metadata"]["name"]
        place = self._read(name, now)
        if "web" not in place.stable:
            return without_deployment(resource, now)
        running = release_of(place.stable["web"])
        wish, plan, limits = _wish(spec), _plan(spec), _limits(spec)
        rollout = rollout_of(resource.get("status", {})) or begin(wish, running)
        todo, waits_for = _pending(self._wants(resource, place, rollout, plan))
        failures = [self._outage(resource, place, rollout, now), *map(objects.failure_of, _rolling(place, rollout))]
        facts = Facts(not todo and not waits_for, next(filter(None, failures), ""), waits_for)
        judge = partial(self._judge, resource, place, rollout, plan, limits, now)
        following = after(rollout, wish, plan, running, facts, limits, judge, now)
        todo, waits_for = _pending(self._wants(resource, place, following, plan))
        message = message_of(following, waits_for)
        if step_of(following) != step_of(rollout):
            log.info("canary moved", canary=name, stage=following.stage.value, step=following.step, why=following.why)
        return Change(
            status_of(resource, following, message, now),
            partial(_do, todo) if todo else None,
            event_of(resource, rollout, following, message),
        )

    def clear(self, now: datetime) -> dict[str, str]:
        """Takes away what Canaries that are gone have left: as in a rollback, the edge stops first. Stable programs keep their release.

        Gives the reason why something is left, by name.
        """
        found = objects.services_of(self._kubernetes.deployments(objects.WEB_CANARY))
        # Read later: an operator beside this one may have made some for a new one.
        known = {each["metadata"]["name"] for each in self._kubernetes.list(self.plural)} if found else set()
        left = [name for name in found if name not in known]
        _do([partial(self._clear, name, now) for name in left])
        return dict.fromkeys(left, Stage.ROLLING_BACK.value)

    # --- inside

    def _clear(self, name: str, now: datetime) -> None:
        place = self._read(name, now)
        if "web" not in place.stable:
            # Kubernetes deletes it with that.
            return
        kept = {role: release_of(each) for role, each in place.stable.items()}
        # Requests come back at once: no roll-out is waited for.
        grown = [want for want in self._released(place, kept) if want.do]
        todo, waits_for = _pending(
            [*self._drained(place), *grown, *self._weighted(name, place, {}), *self._cleared(place)]
        )
        log.info("canary is gone", canary=name, waits_for=waits_for)
        _do(todo)

    def _read(self, name: str, now: datetime) -> Place:
        def deployments(suffix: str) -> Objects:
            found = {role: self._kubernetes.read(APPS, f"deployments/{name}-{role}{suffix}") for role in ROLES}
            return {role: each for role, each in found.items() if each}

        pods, stable, canaries = self._kubernetes.pods(), deployments(""), deployments("-canary")
        edges = [
            each
            for each in pods
            if is_running(each) and is_edge(each, stable.get("web")) and not is_out_of_service(each, now)
        ]
        return Place(
            stable,
            canaries,
            self._kubernetes.read("v1", f"services/{name}-canary"),
            self._kubernetes.read("v1", f"configmaps/{name}-weights"),
            [pod for each in canaries.values() for pod in objects.pods_of(each, pods)],
            edges,
            self._reports(edges),
        )

    def _wants(self, resource: Object, place: Place, rollout: Rollout, plan: Plan) -> list[Want]:
        """In the order in which they become so."""
        name, namespace = resource["metadata"]["name"], resource["metadata"]["namespace"]
        release, owner = rollout.wish.release, place.stable["web"]
        match rollout.stage:
            case Stage.PROMOTED | Stage.ROLLED_BACK:
                # The edge has dropped them by now, unless they are of a Canary that was deleted and made anew.
                weighted = self._weighted(name, place, {}) if place.canaries else ()
                return [*weighted, *self._drained(place), *self._cleared(place)]
            case Stage.DRAINING:
                return [*self._drained(place), *self._weighted(name, place, {})]
            case Stage.ROLLING_BACK:
                # What somebody else has released since is left as it is.
                back = {
                    role: rollout.before if release_of(each) == release else release_of(each)
                    for role, each in place.stable.items()
                }
                wants = [*self._drained(place), *self._weighted(name, place, {}), *self._released(place, back)]
                # One does not wait for the other.
                return sorted(wants, key=lambda want: bool(want.waits_for))
        targets = (objects.target_of(each, namespace) for each in (name, f"{name}-canary"))
        weights = dict(zip(targets, (100 - rollout.weight, rollout.weight), strict=True))
        wanted = {
            role: objects.canary_of(each, release, replicas, owner)
            for role, each in place.stable.items()
            if (replicas := _replicas(place, role, rollout, plan))
        }
        service = objects.service_of(wanted["web"], f"{name}-canary", owner)
        # There is no right to change one: it is made anew.
        is_changed = place.service and not is_as(place.service, service)
        wants = [
            self._gone("services", "v1", place.service)
            if is_changed
            else self._made("services", "v1", place.service, service)
        ]
        wants += [self._made("deployments", APPS, place.canaries.get(role), each) for role, each in wanted.items()]
        wants += [
            Want(
                bool((found := place.canaries.get(role)) and is_as(found, each) and has_rolled_out(found)),
                waits_for=each["metadata"]["name"],
            )
            for role, each in wanted.items()
        ]
        wants += [self._gone("deployments", APPS, each) for role, each in place.canaries.items() if role not in wanted]
        wants += self._weighted(name, place, weights)
        if not rollout.weight and place.weights and not is_as(place.weights, self._weights_of(name, place, {})):
            # One that was deleted and made anew: what its pods get ends before they change.
            wants = [*self._weighted(name, place, weights), *wants]
        releases = dict.fromkeys(place.stable, release)
        return wants + (self._released(place, releases) if rollout.stage == Stage.PROMOTING else [])

    def _made(self, plural: str, version: str, found: Object | None, wanted: Object) -> Want:
        if not found:
            return Want(False, partial(self._kubernetes.create, version, plural, wanted))
        changed = {
            **wanted,
            "metadata": {**wanted["metadata"], "resourceVersion": found["metadata"]["resourceVersion"]},
        }
        return Want(is_as(found, wanted), partial(self._kubernetes.replace, version, plural, changed))

    def _gone(self, plural: str, version: str, found: Object | None) -> Want:
        if not found or "deletionTimestamp" in found["metadata"]:
            return Want(True)
        return Want(False, partial(self._kubernetes.delete, version, plural, found))

    def _drained(self, place: Place) -> list[Want]:
        """Programs that the edge sends nothing."""
        return [self._gone("deployments", APPS, each) for role, each in place.canaries.items() if role != "web"]

    def _cleared(self, place: Place) -> list[Want]:
        """By its web program, which goes last, `clear` finds it."""
        return [
            self._gone("services", "v1", place.service),
            self._gone("deployments", APPS, place.canaries.get("web")),
        ]

    def _weighted(self, name: str, place: Place, weights: Mapping[str, int]) -> list[Want]:
        wanted = self._weights_of(name, place, weights)
        late = [
            pod
            for pod, report in zip(place.edges, place.reports, strict=True)
            # Keys: the edge has been given something.
            if not report.get("keys") or report.get("weights", {}).get(name, {}) != weights
        ]
        told = {CONFIGURED: wanted["metadata"]["annotations"][objects.MADE_OF]}
        untold = [each for each in late if not told.items() <= each["metadata"].get("annotations", {}).items()]
        named = ", ".join(each["metadata"]["name"] for each in late[:MAX_NAMED])
        is_made = is_as(place.weights, wanted)
        return [
            self._made("configmaps", "v1", place.weights, wanted),
            *(Want(False, partial(self._kubernetes.annotate_pod, each["metadata"]["name"], told)) for each in untold),
            Want(is_made and not late, waits_for=named + (" and more" if len(late) > MAX_NAMED else "") or "the edge"),
        ]

    def _weights_of(self, name: str, place: Place, weights: Mapping[str, int]) -> Object:
        return objects.weights_of(f"{name}-weights", weights, place.stable["web"])

    def _released(self, place: Place, releases: Mapping[str, Release]) -> list[Want]:
        """releases: by role."""
        changes: list[Want] = []
        rollouts: list[Want] = []
        for role, each in place.stable.items():
            # Requests come back, and an autoscaler may have stopped pods meanwhile.
            wanted = _count(place.canaries[role]) if role == "web" and role in place.canaries else 0
            is_so = release_of(each) == releases[role] and _count(each) >= wanted
            changed = objects.with_release(each, releases[role])
            changed["spec"]["replicas"] = max(_count(each), wanted)
            changes.append(Want(is_so, partial(self._kubernetes.replace, APPS, "deployments", changed)))
            rollouts.append(Want(is_so and has_rolled_out(each), waits_for=each["metadata"]["name"]))
        return [*changes, *rollouts]

    def _outage(self, resource: Object, place: Place, rollout: Rollout, now: datetime) -> str:
        """What no verdict is waited for: with all requests, those that fail are sent to no other release."""
        if rollout.weight < 100:
            return ""
        if "web" not in place.canaries or not is_available(place.canaries["web"]):
            return f"{resource['metadata']['name']}-web-canary is not ready"
        if not rollout.begun_at or now - rollout.begun_at < MEASURED:
            return ""
        try:
            return UNREACHED if self._is_unreached(resource) else ""
        except Unmeasured:
            return ""

    def _is_unreached(self, resource: Object) -> bool:
        """Raises Unmeasured."""
        name, namespace = resource["metadata"]["name"], resource["metadata"]["namespace"]
        target = objects.target_of(f"{name}-canary", namespace)
        return self._query(figures.unreachable(namespace, target)) > 0

    def _judge(
        self, resource: Object, place: Place, rollout: Rollout, plan: Plan, limits: Limits, now: datetime
    ) -> Verdict:
        name, namespace = resource["metadata"]["name"], resource["metadata"]["namespace"]
        if "web" not in place.canaries or not is_available(place.canaries["web"]):
            return Verdict(Result.FAILED, f"{name}-web-canary is not ready")
        since = rollout.judged_at or now
        if unready := unready_since(place.pods, since):
            return Verdict(Result.FAILED, f"{', '.join(unready[:MAX_NAMED])} is not ready")
        # What a program has not answered when it ends, it has not counted either.
        if ended := ended_since(place.pods, since):
            return Verdict(Result.FAILED, f"a program has ended in {', '.join(ended[:MAX_NAMED])}")
        # A request that it refuses counts with no program: the edge sends it to the stable release.
        try:
            if self._is_unreached(resource):
                return Verdict(Result.FAILED, UNREACHED)
        except Unmeasured:
            return Verdict(Result.ERROR, "whether an edge reaches it could not be measured")
        kinds = [figures.REQUESTS, *([figures.MESSAGES] if len(place.canaries) > 1 else [])]
        labels = {"namespace": namespace, "app": name}
        seconds = round(plan.interval.total_seconds())
        # With no request left to the stable release, its last ones count.
        ago = math.ceil(rollout.switched_for(now).total_seconds())

        def measured(kind: str, release: Release, since: int = 0) -> Any:
            return figures.measure(self._query, figures.queries(kind, labels, release.version, seconds, since))

        samples = {
            kind: (
                measured(kind, rollout.before, ago if kind == figures.REQUESTS else 0),
                measured(kind, rollout.wish.release),
            )
            for kind in kinds
        }
        return compare(samples, limits)


def _do(todo: Sequence[Callable[[], None]]) -> None:
    """One that is refused, as for a pod that has just gone, keeps none of the others from being done."""
    refused: list[Refused] = []
    for each in todo:
        try:
            each()
        except Refused as error:
            refused.append(error)
        failpoints.point("an object changed")
    if refused:
        raise refused[0]


def _pending(wants: Sequence[Want]) -> tuple[list[Callable[[], None]], str]:
    """What to do now, and what holds up the rest."""
    todo: list[Callable[[], None]] = []
    for want in wants:
        if not want.is_so and want.do:
            todo.append(want.do)
        if not want.is_so and want.waits_for:
            return todo, want.waits_for
    return todo, ""


def _replicas(place: Place, role: str, rollout: Rollout, plan: Plan) -> int:
    """Web pods are there before their requests, consumers take messages at once."""
    if role != "web":
        return objects.replicas_of(place.stable[role], role, rollout.weight)
    # An autoscaler stops stable pods as requests leave them.
    before = _count(place.canaries["web"]) if "web" in place.canaries else 0
    return max(before, objects.replicas_of(place.stable[role], role, rollout.weight or plan.weight(0)))


def _count(deployment: Object) -> int:
    return int(deployment["spec"].get("replicas", 1))


def _rolling(place: Place, rollout: Rollout) -> list[Object]:
    return [*place.canaries.values(), *(place.stable.values() if rollout.stage == Stage.PROMOTING else ())]


def _wish(spec: Object) -> Wish:
    return Wish(Release(spec["image"], spec["version"]), spec["attempt"])


def _plan(spec: Object) -> Plan:
    steps = tuple(spec["steps"]) if spec["strategy"] == "Canary" else (100,)
    return Plan(steps, timedelta(seconds=spec["intervalSeconds"]), spec["hold"])


def _limits(spec: Object) -> Limits:
    given = spec["limits"]
    return Limits(
        min_count=given["minSamples"],
        max_more_failed=given["maxMoreFailedPercent"] / 100,
        max_more_slow=given["maxMoreSlowPercent"] / 100,
        failures=given["failures"],
        inconclusive=given["inconclusive"],
        errors=given["errors"],
    )
