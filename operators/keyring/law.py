"""A rotation in a cluster, where a Secret reaches each pod at a moment of its own: a step begins when all have loaded the one before."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from operators.keyring import rotation
from operators.keyring.rotation import ALGORITHMS, Keys


class Step(StrEnum):
    """As in a condition, while pods load it."""

    DONE = "Rotated"
    ADDING = "AddingKeys"
    """All verify by them."""
    SIGNING = "UsingNewKeys"
    EXPIRING = "ExpiringOldKeys"
    """Once no pod uses them. They get an end, when what they signed has expired, too."""
    RETIRING = "RetiringOldKeys"


@dataclass(frozen=True)
class Ring:
    keys: Keys
    step: Step
    rotation: int
    """The last one begun."""
    begun_at: datetime


@dataclass(frozen=True)
class Wish:
    rotation: int = 0
    """Higher than the ring's: now."""
    interval: timedelta | None = None
    algorithm: str = ALGORITHMS[0]
    drop_old: bool = False
    """For stolen keys: they end as soon as no pod uses them, and with them the tokens that they signed."""


def after(ring: Ring, wish: Wish, now: datetime) -> Ring:
    """The next step, once all pods have loaded this one; or the same."""
    match ring.step:
        case Step.DONE:
            is_old = wish.interval is not None and now - ring.begun_at >= wish.interval
            if wish.rotation <= ring.rotation and not is_old:
                return ring
            keys = rotation.add(ring.keys, wish.algorithm, now)
            return Ring(keys, Step.ADDING, max(wish.rotation, ring.rotation), now)
        case Step.ADDING:
            return replace(ring, keys=rotation.use(ring.keys), step=Step.SIGNING)
        case Step.SIGNING:
            return replace(ring, keys=rotation.expire(ring.keys, now, wish.drop_old), step=Step.EXPIRING)
        case Step.EXPIRING:
            keys = rotation.without_expired(ring.keys, now)
            if any(key["expires_at"] for group in [keys["jwt"], *keys["api"].values()] for key in group):
                return ring
            return replace(ring, keys=keys, step=Step.RETIRING)
        case Step.RETIRING:
            return replace(ring, step=Step.DONE)
