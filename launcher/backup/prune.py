"""Deletes old backups, and the log that no kept one needs."""

import shutil
from dataclasses import dataclass

from launcher.backup import wal
from launcher.backup.target import UNFINISHED, Backup, Era, Target


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
            for unfinished in (era.folder / "backups").glob(f"*{UNFINISHED}"):
                shutil.rmtree(unfinished)
            _prune(era, oldest, pruned)
            if era is not eras[-1] and not era.backups():
                shutil.rmtree(era.folder)
    return pruned


def _prune(era: Era, oldest: list[Backup], pruned: Pruned) -> None:
    """The newest first: what is left of an interrupted deletion is whole."""
    found = era.backups()
    kept = [backup for backup in found if not oldest or backup.name >= oldest[0].name]
    for backup in reversed(found[: len(found) - len(kept)]):
        gone = backup.folder.rename(backup.folder.with_name(f"{backup.name}{UNFINISHED}"))
        shutil.rmtree(gone)
        pruned.backups += 1
    needed = min((wal.segment_of(backup.start) for backup in kept), default=None)
    for segment in wal.segments(era.log):
        if needed is not None and segment.number < needed:
            segment.path.unlink()
            pruned.segments += 1
