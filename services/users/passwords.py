"""Passwords: which ones are accepted, and their argon2id hashes (RFC 9106) at the cost set in the settings.

Hashes are computed by low-priority threads of their own, so that other requests and programs go first. A request that waits for one
holds no connection and no lock, and the number that may wait is limited, which keeps threads free for other requests.
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

HASH_SECONDS = Histogram("souk_password_hash_seconds", "Time to compute a password hash, excluding the wait.")

MIN_SCORE = 3
"""Of zxcvbn's 0 to 4: at least 10^8 guesses."""

MAX_JUDGED_CHARACTERS = 32
"""zxcvbn's time grows with the square of the length: tenths of a second here, seconds at 200. A passphrase with a weak beginning
is therefore rejected."""


def hash_password(password: str) -> str:
    """The hash with its salt and parameters. Takes tens of milliseconds, without the interpreter lock.

    Raises Unavailable when too many requests wait for a hash.
    """
    return at_low_priority(lambda: _hasher().hash(_normalized(password)))


def matches(password: str, stored: str | None) -> bool:
    """Whether `stored` is a hash of `password`. Raises Unavailable when too many requests wait for a hash.

    Without a stored hash it is False after the same work, so that the response time does not reveal which accounts exist.
    """
    try:
        at_low_priority(lambda: _hasher().verify(stored or decoy(), _normalized(password)))
    except VerifyMismatchError:
        return False
    return stored is not None


def decoy() -> str:
    """A hash of a random value at the current cost, to verify against when there is no account."""
    return _decoy_of(_hasher())


def is_outdated(stored: str) -> bool:
    """Whether `stored` was computed at another cost than the current settings'."""
    return _hasher().check_needs_rehash(stored)


def reject_weak(password: str, personal_terms: Sequence[str], field: str) -> None:
    """Raises Invalid, naming `field`, if the password is leaked or as easy to guess as those."""
    # zxcvbn's word lists take 9 MB, so only processes that see a new password load them.
    from zxcvbn import zxcvbn

    judged = zxcvbn(password[:MAX_JUDGED_CHARACTERS], user_inputs=list(personal_terms))
    if judged["score"] < MIN_SCORE:
        why = judged["feedback"]["warning"].rstrip(".")
        message = "is too easy to guess" + (f": {why}" if why else "")
        raise Invalid(f"{field}: {message}", errors=[{"field": field, "message": message}])


def _normalized(password: str) -> str:
    # Keyboards differ in the code points they produce for the same password (NIST SP 800-63B, 5.1.1.2).
    return unicodedata.normalize("NFKC", password)


def _hasher() -> PasswordHasher:
    settings = Settings.current()
    return _hasher_with(settings.argon2_passes, settings.argon2_memory_kibibytes, settings.argon2_lanes)


@cache
def _hasher_with(passes: int, memory_kibibytes: int, lanes: int) -> PasswordHasher:
    return PasswordHasher(passes, memory_kibibytes, lanes)


@cache
def _decoy_of(hasher: PasswordHasher) -> str:
    return hasher.hash(secrets.token_hex())


def at_low_priority(work: Callable[[], T]) -> T:
    """Run `work` on a hashing thread and return its result. Raises Unavailable when too many requests wait."""
    settings = Settings.current()
    slots = _slots(settings.max_waiting_hashes)
    if not slots.acquire(blocking=False):
        raise Unavailable("Too many passwords are being checked.", retry_after_seconds=1)
    try:
        threads = settings.max_concurrent_hashes or max(1, (os.cpu_count() or 1) - 1)
        return _pool(threads, settings.hash_niceness).submit(HASH_SECONDS.time()(work)).result()
    finally:
        slots.release()


@cache
def _slots(count: int) -> BoundedSemaphore:
    return BoundedSemaphore(count)


@cache
def _pool(threads: int, niceness: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "passwords", initializer=_lower_priority, initargs=(niceness,))


def _lower_priority(niceness: int) -> None:
    # On Linux each thread has its own priority, and lowering it needs no privilege.
    thread = threading.get_native_id()
    os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + niceness)
