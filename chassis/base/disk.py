"""Refuses writes before a database's disk is full: a full one stops the database, and reads with it."""

import os

from chassis.base.problems import Problem
from chassis.base.settings import Settings

MEGABYTE = 1_000_000


class InsufficientStorage(Problem):
    type, status, title = "/problems/insufficient-storage", 507, "Insufficient storage"


def is_full(settings: Settings) -> bool:
    """Whether a database on this machine has too little space. Takes a microsecond."""
    return any(_free(folder) < settings.min_free_megabytes * MEGABYTE for folder in settings.data_folders)


def ensure_space(settings: Settings) -> None:
    """Raises InsufficientStorage."""
    if is_full(settings):
        raise InsufficientStorage("The disk is full: nothing can be changed at the moment.", {"Retry-After": "30"})


def _free(folder: str) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
