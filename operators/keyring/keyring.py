"""Applies the law to the Secrets that pods mount. A Secret of its own, which no pod mounts, holds the ring."""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from structlog import get_logger

from chassis.base import failpoints
from chassis.clients.credentials import digest_of
from operators.keyring import rotation
from operators.keyring.law import Ring, Step, Wish, after
from operators.kubernetes import Kubernetes, Missing, Object
from operators.pods import is_running, reports
from operators.reconciler import Change, Event, Reconciler, conditions, reason_of, time_of

log = get_logger(__name__)

CONDITION = "Rotated"
KEYS, RING = "keys.json", "ring.json"

SECRET_MISSING = "SecretMissing"  # noqa: S105 - a reason
MAX_NAMED = 5

LABELS = {"app.kubernetes.io/part-of": "souk"}

MESSAGES = {
    Step.DONE: "all pods use the keys",
    Step.ADDING: "all pods will verify by the new keys, before one is used",
    Step.SIGNING: "the new keys are used; the old ones are still accepted",
    Step.EXPIRING: "the old keys are accepted until what they signed has expired",
    Step.RETIRING: "the old keys are gone",
}


class Keyring(Reconciler):
    plural = "keyrings"

    def __init__(self, kubernetes: Kubernetes) -> None:
        self._kubernetes = kubernetes
        self._reports = reports()

    def decide(self, resource: Object, now: datetime) -> Change:
        spec, name = resource["spec"], resource["metadata"]["name"]
        generation = {"observedGeneration": resource["metadata"]["generation"]}
        services = [*spec["callers"], *spec["verifiers"]]
        try:
            secrets = {service: self._kubernetes.secret(f"{service}-keys") for service in services}
        except Missing as error:
            known = {**resource.get("status", {}), **generation}
            known["conditions"] = conditions(resource, CONDITION, False, SECRET_MISSING, str(error), now)
            is_new = reason_of(resource, CONDITION) != SECRET_MISSING
            return Change(known, event=Event(SECRET_MISSING, str(error), True) if is_new else None)
        try:
            stored: Object | None = self._kubernetes.secret(f"{name}-keyring")
        except Missing:
            stored = None
        ring = _read(stored) if stored else adopt({service: _file(each) for service, each in secrets.items()}, now)
        wanted = _files(ring, services, spec["callers"])
        stale = [service for service in services if _file(secrets[service]) != wanted[service]]
        waits_for = stale or self._waits_for(secrets)
        following = ring if waits_for or not stored else after(ring, _wish(spec), now)
        act = None
        if following != ring or not stored:
            files = _files(following, services, spec["callers"])
            act = partial(self._write, name, stored, following, secrets, files)
        elif stale:
            act = partial(self._write_files, secrets, {service: wanted[service] for service in stale})
        return Change(
            _status(resource, following, waits_for, now) | generation, act, _event(ring, following, is_new=not stored)
        )

    # --- inside

    def _waits_for(self, secrets: Mapping[str, Object]) -> list[str]:
        """Pods that have not loaded their Secret, or do not say so."""
        digests = {each["metadata"]["name"]: digest_of(b64decode(each["data"][KEYS])) for each in secrets.values()}
        pods = [
            (pod, digest)
            for pod in self._kubernetes.pods()
            for secret, digest in digests.items()
            if is_running(pod) and secret in _mounted(pod)
        ]
        loaded = self._reports([pod for pod, _ in pods])
        return sorted(
            pod["metadata"]["name"]
            for (pod, digest), found in zip(pods, loaded, strict=True)
            if found.get("keys") != digest
        )

    def _write(
        self,
        name: str,
        stored: Object | None,
        ring: Ring,
        secrets: Mapping[str, Object],
        files: Mapping[str, Object],
    ) -> None:
        """The ring first: what pods get follows from it."""
        data = {RING: _encoded(_as_json(ring))}
        if stored:
            self._kubernetes.update_secret(stored, data)
        else:
            self._kubernetes.create_secret(f"{name}-keyring", LABELS, data)
        failpoints.point("ring written")
        log.info("keys rotated", step=ring.step.value, signing=ring.keys["jwt"][0]["id"])
        self._write_files(secrets, files)

    def _write_files(self, secrets: Mapping[str, Object], files: Mapping[str, Object]) -> None:
        for service, content in files.items():
            if _file(secrets[service]) != content:
                self._kubernetes.update_secret(secrets[service], {KEYS: _encoded(content)})
                failpoints.point("a secret written")


def adopt(files: Mapping[str, Any], now: datetime) -> Ring:
    """Keys that were there before. files: by service."""
    tokens = [{"id": id_, **key} for id_, key in files[rotation.ISSUER]["jwt_keys"].items()]
    api = {
        service: [{"material": content["api_key"], "expires_at": None}]
        for service, content in files.items()
        if content.get("api_key")
    }
    return Ring({"jwt": tokens, "api": api}, Step.DONE, 0, now)


def _mounted(pod: Object) -> set[str]:
    return {volume["secret"]["secretName"] for volume in pod["spec"].get("volumes", []) if "secret" in volume}


def _wish(spec: Object) -> Wish:
    days = spec.get("intervalDays")
    interval = timedelta(days=days) if days else None
    return Wish(spec["rotation"], interval, spec["algorithm"], spec["dropOld"])


def _files(ring: Ring, services: Sequence[str], callers: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    return {service: rotation.file_of(service, ring.keys, callers) for service in services}


def _file(secret: Object) -> Any:
    return json.loads(b64decode(secret["data"][KEYS]))


def _encoded(content: Any) -> str:
    return b64encode(json.dumps(content).encode()).decode()


def _as_json(ring: Ring) -> Object:
    return {
        "keys": ring.keys,
        "step": ring.step.value,
        "rotation": ring.rotation,
        "begun_at": ring.begun_at.isoformat(),
    }


def _read(secret: Object) -> Ring:
    found = json.loads(b64decode(secret["data"][RING]))
    return Ring(found["keys"], Step(found["step"]), found["rotation"], datetime.fromisoformat(found["begun_at"]))


def _status(resource: Object, ring: Ring, waits_for: Sequence[str], now: datetime) -> Object:
    message = MESSAGES[ring.step]
    if waits_for:
        named = ", ".join(waits_for[:MAX_NAMED]) + (" and more" if len(waits_for) > MAX_NAMED else "")
        message += f"; waits for {named}"
    return {
        "rotation": ring.rotation,
        "signingKey": ring.keys["jwt"][0]["id"],
        "waitsFor": len(waits_for),
        "begunAt": time_of(ring.begun_at),
        "conditions": conditions(resource, CONDITION, ring.step == Step.DONE, ring.step, message, now),
    }


def _event(ring: Ring, following: Ring, is_new: bool) -> Event | None:
    if is_new:
        return Event("Adopted", f"token key {ring.keys['jwt'][0]['id']} and the services' own")
    if following.step == ring.step:
        return None
    return Event(following.step.value, MESSAGES[following.step])
