"""Passwords as argon2id hashes (RFC 9106), at the cost that the settings name."""

import os
import secrets
import unicodedata
from functools import cache
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from services.users.settings import Settings

# More hashes at once than there are cores would not be done sooner, and each needs its memory.
_CORES = BoundedSemaphore(os.cpu_count() or 1)


def hashed(password: str) -> str:
    """The hash of `password`, with its salt and parameters. Takes tens of milliseconds and no interpreter lock."""
    with _CORES:
        return _hasher().hash(_normal(password))


def matches(password: str, known: str | None) -> bool:
    """Whether `known` is a hash of `password`.

    Without a hash the answer is no, after the same work: the time taken does not tell who has an account.
    """
    try:
        with _CORES:
            _hasher().verify(known or _decoy(_hasher()), _normal(password))
    except VerifyMismatchError:
        return False
    return known is not None


def is_outdated(known: str) -> bool:
    """Whether `known` was made at another cost than the settings name now."""
    return _hasher().check_needs_rehash(known)


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
def _decoy(hasher: PasswordHasher) -> str:
    return hasher.hash(secrets.token_hex())
