"""Which backup leads to a moment, and what of it there is."""

from dataclasses import dataclass
from datetime import datetime

from launcher.backup.target import Backup, Era, Target
from launcher.errors import LaunchError


@dataclass(frozen=True)
class Moment:
    era: Era
    backup: Backup
    at: datetime | None
    """None for the end of the log."""


def find(target: Target, at: datetime | None) -> Moment:
    """What was true at that moment, also if a later restore has undone it. Raises LaunchError."""
    eras = [era for era in target.eras() if at is None or era.began_at <= at]
    if at is None:
        eras = [era for era in eras if era.backups()]
    if eras:
        usable = [backup for backup in eras[-1].backups() if at is None or backup.ended_at <= at]
        if usable:
            return Moment(eras[-1], usable[-1], at)
    raise LaunchError(f"No backup leads to {'any moment' if at is None else text(at)}. {_reach(target)}")


def text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _reach(target: Target) -> str:
    eras = target.eras()
    # The log of an era goes on until the next one begins.
    ends = [*(text(era.began_at) for era in eras[1:]), "now"]
    spans = [
        f"{text(era.backups()[0].ended_at)} to {end}" for era, end in zip(eras, ends, strict=True) if era.backups()
    ]
    return f"Reachable: {'; '.join(spans)}." if spans else "./souk backup create makes one."
