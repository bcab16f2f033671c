"""Accepted passwords, and their argon2id hashes (RFC 9106).

Low-priority threads compute the hashes, so other requests and programs go first. A waiting request holds no connection and no lock.
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
"""zxcvbn's time grows with the square of the length: tenths of a second here, seconds at 200."""


def hash_password(password: str) -> str:
    """Takes tens of milliseconds, without the interpreter lock. Raises Unavailable when too many wait."""
    return at_low_priority(lambda: _hasher().hash(_normalized(password)))


def matches(password: str, stored: str | None) -> bool:
    """Raises Unavailable when too many wait.

    Without a stored hash it does the same work: the response time must not reveal which accounts exist.
    """
    try:
        at_low_priority(lambda: _hasher().verify(stored or decoy(), _normalized(password)))
    except VerifyMismatchError:
        return False
    return stored is not None


def decoy() -> str:
    """A hash that no password matches, at the current cost."""
    return _decoy_of(_hasher())


def is_outdated(stored: str) -> bool:
    """Whether the cost in the settings has changed since."""
    return _hasher().check_needs_rehash(stored)


def reject_weak(password: str, personal_terms: Sequence[str], field: str) -> None:
    """Raises Invalid for a password that is leaked or as easy to guess."""
    # zxcvbn's word lists take 9 MB, so only processes that see a new password load them.
    from zxcvbn import zxcvbn

    judged = zxcvbn(password[:MAX_JUDGED_CHARACTERS], user_inputs=list(personal_terms))
    if judged["score"] < MIN_SCORE:
        why = judged["feedback"]["warning"].rstrip(".")
        message = "is too easy to guess" + (f": {why}" if why else "")
        raise Invalid.fields((field, message))


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
    """Run `work` on a hashing thread. Raises Unavailable when too many wait."""
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
