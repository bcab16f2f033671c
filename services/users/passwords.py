"""Passwords as argon2id hashes (RFC 9106), at the cost that the settings name, and which passwords we take.

Hashes are made by threads of their own, as many as leave a core to others, at a priority below everybody else's: the
requests of this and of every other program on the machine go first. Who waits for a hash holds no connection and no lock,
and no more wait than leave threads to other requests.
"""

import os
import secrets
import threading
import unicodedata
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import BoundedSemaphore
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from prometheus_client import Histogram

from chassis.base.problems import Invalid, Unavailable
from services.users.settings import Settings

T = TypeVar("T")

HASH_SECONDS = Histogram(
    "souk_password_hash_seconds", "Time that one password hash took, without the wait for its turn."
)

MIN_SCORE = 3
"""Of zxcvbn's 0 to 4: at least 10^8 guesses."""

JUDGED_CHARACTERS = 32
"""zxcvbn's time grows with the square of the length: tenths of a second here, seconds at 200. A passphrase whose beginning is weak
is refused for it."""


def hashed(password: str) -> str:
    """The hash of `password`, with its salt and parameters. Takes tens of milliseconds and no interpreter lock.

    Raises Unavailable when too many wait for one.
    """
    return at_low_priority(lambda: _hasher().hash(_normal(password)))


def matches(password: str, known: str | None) -> bool:
    """Whether `known` is a hash of `password`. Raises Unavailable when too many wait for that.

    Without a hash the answer is no, after the same work: the time taken does not tell who has an account.
    """
    try:
        at_low_priority(lambda: _hasher().verify(known or decoy(), _normal(password)))
    except VerifyMismatchError:
        return False
    return known is not None


def decoy() -> str:
    """A hash at today's cost, of what nobody knows: passwords that have no account are checked against it."""
    return _hash_of_nothing(_hasher())


def is_outdated(known: str) -> bool:
    """Whether `known` was made at another cost than the settings name now."""
    return _hasher().check_needs_rehash(known)


def refuse_weak(password: str, known_of_owner: Sequence[str], field: str) -> None:
    """Raises Invalid, naming `field`, for a password that is on the lists of the leaked ones, or guessed as easily."""
    # Its lists take 9 MB, so only a process that sees a new password has them.
    from zxcvbn import zxcvbn

    judged = zxcvbn(password[:JUDGED_CHARACTERS], user_inputs=list(known_of_owner))
    if judged["score"] < MIN_SCORE:
        why = judged["feedback"]["warning"].rstrip(".")
        message = "is too easy to guess" + (f": {why}" if why else "")
        raise Invalid(f"{field}: {message}", errors=[{"field": field, "message": message}])


def _normal(password: str) -> str:
    # One password typed on two keyboards may arrive as different code points (NIST SP 800-63B, 5.1.1.2).
    return unicodedata.normalize("NFKC", password)


def _hasher() -> PasswordHasher:
    settings = Settings.current()
    return _made(settings.argon2_passes, settings.argon2_memory_kibibytes, settings.argon2_lanes)


@cache
def _made(passes: int, memory_kibibytes: int, lanes: int) -> PasswordHasher:
    return PasswordHasher(passes, memory_kibibytes, lanes)


@cache
def _hash_of_nothing(hasher: PasswordHasher) -> str:
    return hasher.hash(secrets.token_hex())


def at_low_priority(work: Callable[[], T]) -> T:
    """What `work` gives, done by a thread for hashes in its turn. Raises Unavailable when too many wait for theirs."""
    settings = Settings.current()
    room = _room(settings.hashes_waiting)
    if not room.acquire(blocking=False):
        raise Unavailable("Too many passwords are being checked.", retry_after_seconds=1)
    try:
        at_once = settings.hashes_at_once or max(1, (os.cpu_count() or 1) - 1)
        return _pool(at_once, settings.hash_niceness).submit(HASH_SECONDS.time()(work)).result()
    finally:
        room.release()


@cache
def _room(requests: int) -> BoundedSemaphore:
    return BoundedSemaphore(requests)


@cache
def _pool(threads: int, niceness: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "passwords", initializer=_go_behind, initargs=(niceness,))


def _go_behind(niceness: int) -> None:
    # On Linux a priority is a thread's own, and lowering it needs no privilege.
    me = threading.get_native_id()
    os.setpriority(os.PRIO_PROCESS, me, os.getpriority(os.PRIO_PROCESS, me) + niceness)
