"""Deletes old backups, and the log that no kept one needs."""

from dataclasses import dataclass

from launcher.backup import wal
from launcher.backup.target import Backup, Era, Target


@dataclass
class Pruned:
    backups: int = 0
    segments: int = 0


def prune(target: Target, keep: int) -> Pruned:
    """keep: how many full backups, with those that build on them; at least one."""
    pruned = Pruned()
    with target.lock():
        eras = target.eras()
        fulls = [backup for era in eras for backup in era.backups() if not backup.parent]
        oldest = fulls[-max(1, keep) :][:1]
        for era in eras:
            target.drop_unfinished(era)
            _prune(target, era, oldest, pruned)
            if era is not eras[-1] and not era.backups():
                target.drop_era(era)
    return pruned


def _prune(target: Target, era: Era, oldest: list[Backup], pruned: Pruned) -> None:
    """The newest first: what is left of an interrupted deletion is whole."""
    found = era.backups()
    kept = [backup for backup in found if not oldest or backup.name >= oldest[0].name]
    for backup in reversed(found[: len(found) - len(kept)]):
        target.drop(backup)
        pruned.backups += 1
    needed = min((wal.segment_of(backup.start) for backup in kept), default=None)
    if needed is not None:
        pruned.segments += target.drop_log(era, needed)
