"""What a Canary says of its rollout, and keeps of it from round to round."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from operators.canary.rollout import Release, Rollout, Stage, Wish
from operators.canary.verdict import Tally
from operators.kubernetes import Object
from operators.reconciler import Change, Event, conditions, reason_of, time_of

CONDITION, STALLED = "Ready", "Stalled"
"""What Helm and kubectl wait for."""

MISSING = "DeploymentMissing"

MESSAGES = {
    Stage.STARTING: "its pods start, without requests",
    Stage.PREVIEW: "it can be looked at; `hold: false` lets it go on",
    Stage.PROMOTING: "the stable programs get it",
    Stage.DRAINING: "the stable programs have it; its own pods get no more requests",
    Stage.PROMOTED: "it has taken over",
    Stage.ROLLING_BACK: "its pods get no more requests",
    Stage.ROLLED_BACK: "the release before serves alone",
}

TIMES = {"entered_at": "enteredAt", "begun_at": "begunAt", "judged_at": "judgedAt"}
"""Of a rollout, by field of the status."""


def rollout_of(status: Object) -> Rollout | None:
    """None at first."""
    if "stage" not in status:
        return None
    times = {name: datetime.fromisoformat(status[field]) if field in status else None for name, field in TIMES.items()}
    return Rollout(
        Wish(Release(status["image"], status["version"]), status["attempt"]),
        Release(**status["before"]),
        Stage(status["stage"]),
        status["step"],
        status["weight"],
        tally=Tally(**status["tally"]),
        why=status["why"],
        **times,
    )


def status_of(resource: Object, rollout: Rollout, message: str, now: datetime) -> Object:
    times = {field: getattr(rollout, name) for name, field in TIMES.items()}
    is_rolled_back, is_promoted = rollout.stage == Stage.ROLLED_BACK, rollout.stage == Stage.PROMOTED
    stalled = conditions(resource, STALLED, is_rolled_back, rollout.stage, message, now)
    both = conditions({"status": {"conditions": stalled}}, CONDITION, is_promoted, rollout.stage, message, now)
    return {
        **asdict(rollout.wish.release),
        "attempt": rollout.wish.attempt,
        "before": asdict(rollout.before),
        "stage": rollout.stage.value,
        "step": rollout.step,
        "weight": rollout.weight,
        "tally": asdict(rollout.tally),
        "why": rollout.why,
        **{name: time_of(moment) for name, moment in times.items() if moment},
        "conditions": both,
        "observedGeneration": resource["metadata"]["generation"],
    }


def message_of(rollout: Rollout, waits_for: str) -> str:
    message = MESSAGES.get(rollout.stage) or f"it gets {rollout.weight} % of the requests"
    return message + (f"; {rollout.why}" if rollout.why else "") + (f"; waits for {waits_for}" if waits_for else "")


def event_of(resource: Object, rollout: Rollout, following: Rollout, message: str) -> Event | None:
    """Of each stage and step."""
    is_new = step_of(following) != step_of(rollout)
    is_first = reason_of(resource, CONDITION) in ("", MISSING)
    if not is_new and not is_first:
        return None
    return Event(following.stage.value, message, following.stage in (Stage.ROLLING_BACK, Stage.ROLLED_BACK))


def step_of(rollout: Rollout) -> tuple[Any, ...]:
    return rollout.wish, rollout.stage, rollout.step, rollout.weight


def without_deployment(resource: Object, now: datetime) -> Change:
    message = f"there is no deployment {resource['metadata']['name']}-web"
    known = {**resource.get("status", {}), "observedGeneration": resource["metadata"]["generation"]}
    known["conditions"] = conditions(resource, CONDITION, False, MISSING, message, now)
    is_new = reason_of(resource, CONDITION) != MISSING
    return Change(known, event=Event(MISSING, message, True) if is_new else None)
