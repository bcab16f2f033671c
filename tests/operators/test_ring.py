"""The steps of a rotation in a cluster, whatever the order in which Secrets are written and pods load them."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.keyring import rotation
from operators.keyring.keyring import adopt
from operators.keyring.law import Ring, Step, Wish, after

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CALLERS = {"users": ["orders"], "orders": ["users"], "products": ["orders"]}
SERVICES = [*CALLERS, "gateway"]
PODS = ["users", "users", "orders", "products", "gateway"]


def first() -> Ring:
    keys = {"jwt": [rotation.new_jwt_key("HS256", NOW)], "api": {name: [rotation.new_api_key()] for name in CALLERS}}
    return Ring(keys, Step.DONE, 0, NOW)


def file(service: str, ring: Ring) -> Any:
    return rotation.file_of(service, ring.keys, CALLERS)


class Cluster:
    def __init__(self) -> None:
        self.ring, self.now = first(), NOW
        self.secrets = {service: file(service, self.ring) for service in SERVICES}
        self.pods = [self.secrets[service] for service in PODS]
        self.signed: dict[str, datetime] = {}
        """When the last token was signed with each key."""

    def step(self, wish: Wish) -> None:
        """As the operator does: only when all pods have loaded the ring."""
        wanted = {service: file(service, self.ring) for service in SERVICES}
        if self.secrets == wanted and self.pods == [wanted[service] for service in PODS]:
            self.ring = after(self.ring, wish, self.now)

    def check(self) -> None:
        for service, pod in zip(PODS, self.pods, strict=True):
            if service == rotation.ISSUER:
                self.signed[next(iter(pod["jwt_keys"]))] = self.now
            for key, signed_at in self.signed.items():
                if self.now < signed_at + rotation.TOKEN_LIFETIME:
                    assert is_valid(pod["jwt_keys"].get(key, {}).get("expires_at", "never known"), self.now)
            for caller, theirs in zip(PODS, self.pods, strict=True):
                if caller in CALLERS.get(service, ()):
                    digest = hashlib.sha256(theirs["api_key"].encode()).hexdigest()
                    assert is_valid(pod["api_callers"][caller].get(digest, "never known"), self.now)


def is_valid(expires_at: str | None, now: datetime) -> bool:
    assert expires_at != "never known"
    return expires_at is None or now < datetime.fromisoformat(expires_at)


actions = st.one_of(
    st.tuples(st.just("step"), st.just(0)),
    st.tuples(st.just("write"), st.integers(0, len(SERVICES) - 1)),
    st.tuples(st.just("load"), st.integers(0, len(PODS) - 1)),
    st.tuples(st.just("minutes"), st.integers(1, 20)),
    st.tuples(st.just("reach"), st.just(0)),
)


@given(st.lists(actions, max_size=60))
def test_what_is_in_use_is_accepted_by_all(taken: list[tuple[str, int]]) -> None:
    cluster = Cluster()
    for action, number in taken:
        match action:
            case "step":
                cluster.step(Wish(interval=timedelta(minutes=1)))
            case "write":
                cluster.secrets[SERVICES[number]] = file(SERVICES[number], cluster.ring)
            case "load":
                cluster.pods[number] = cluster.secrets[PODS[number]]
            case "minutes":
                cluster.now += timedelta(minutes=number)
            case "reach":
                # Everything but the last pod.
                cluster.secrets = {service: file(service, cluster.ring) for service in SERVICES}
                cluster.pods = [*(cluster.secrets[service] for service in PODS[:-1]), cluster.pods[-1]]
        cluster.check()


def steps(ring: Ring, wish: Wish, minutes: list[int]) -> list[Step]:
    found, now = [], NOW
    for each in minutes:
        now += timedelta(minutes=each)
        ring = after(ring, wish, now)
        found.append(ring.step)
    return found


def test_a_rotation_ends_with_the_old_keys_retired() -> None:
    assert steps(first(), Wish(rotation=1), [0, 0, 0, 15, 2, 0, 0]) == [
        *(Step.ADDING, Step.SIGNING, Step.EXPIRING, Step.EXPIRING),
        *(Step.RETIRING, Step.DONE, Step.DONE),
    ]


def test_stolen_keys_for_tokens_end_at_once() -> None:
    ring = first()
    for _ in range(3):
        ring = after(ring, Wish(rotation=1, drop_old=True), NOW)
    assert [key["expires_at"] for key in ring.keys["jwt"]] == [None, NOW.isoformat()]


@pytest.mark.parametrize(("days", "step"), [(29, Step.DONE), (30, Step.ADDING)])
def test_keys_are_rotated_when_they_are_old(days: int, step: Step) -> None:
    wish = Wish(interval=timedelta(days=30))
    assert after(first(), wish, NOW + timedelta(days=days)).step == step


def test_a_rotation_that_was_asked_for_is_not_repeated() -> None:
    ring = first()
    for minutes in (0, 0, 0, 20, 0, 0):
        ring = after(ring, Wish(rotation=3), NOW + timedelta(minutes=minutes))
    assert (ring.rotation, after(ring, Wish(rotation=3), NOW)) == (3, ring)


def test_keys_that_were_there_before_are_adopted() -> None:
    ring = first()
    found = adopt({service: file(service, ring) for service in SERVICES}, NOW)
    assert {service: file(service, found) for service in SERVICES} == {
        service: file(service, ring) for service in SERVICES
    }
