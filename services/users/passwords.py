"""Password rules and argon2id hashes (RFC 9106).

Hashing runs in low-priority threads; waiting requests hold no connection or lock.
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
"""zxcvbn's 0 to 4; 3 is at least 10^8 guesses."""

MAX_JUDGED_CHARACTERS = 32
"""zxcvbn is quadratic."""


def hash_password(password: str) -> str:
    """Releases the GIL. Raises Unavailable when too many wait."""
    return at_low_priority(lambda: _hasher().hash(_normalized(password)))


def matches(password: str, stored: str | None) -> bool:
    """Raises Unavailable when too many wait.

    Works as long without a stored hash, to hide which accounts exist.
    """
    try:
        at_low_priority(lambda: _hasher().verify(stored or decoy(), _normalized(password)))
    except VerifyMismatchError:
        return False
    return stored is not None


def decoy() -> str:
    return _decoy_of(_hasher())


def is_outdated(stored: str) -> bool:
    return _hasher().check_needs_rehash(stored)


def reject_weak(password: str, personal_terms: Sequence[str], field: str) -> None:
    """Raises Invalid if leaked or easy to guess."""
    # Its word lists take 8 MB.
    from zxcvbn_rs_py import zxcvbn

    judged = zxcvbn(password[:MAX_JUDGED_CHARACTERS], list(personal_terms))
    if int(judged.score) < MIN_SCORE:
        why = judged.feedback and judged.feedback.warning
        message = "is too easy to guess" + (f": {str(why).rstrip('.')}" if why else "")
        raise Invalid.fields((field, message))


def _normalized(password: str) -> str:
    # Keyboards produce different code points for one password (NIST SP 800-63B, 5.1.1.2).
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
    """Raises Unavailable when too many wait."""
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
    # On Linux, priority is per thread and lowering it needs no privilege.
    thread = threading.get_native_id()
    os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + niceness)
