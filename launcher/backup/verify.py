"""What is wrong with backups, without starting them. `./souk drill restore` starts one."""

from collections.abc import Collection, Iterator, Sequence

from launcher.backup import database, vault, wal
from launcher.backup.create import SECRETS
from launcher.backup.target import Backup, Era, Target
from launcher.errors import LaunchError
from launcher.servers.postgres import tools


def examine(target: Target, key: str) -> tuple[int, list[str]]:
    """Number of backups, and what is wrong with them."""
    count, found = 0, list[str]()
    for era in target.eras():
        for group in _groups(era.backups()):
            count += len(group)
            try:
                with target.at_hand(era, group) as near:
                    found += _of_group(near, era.name, {each.name for each in group}, key)
            except LaunchError as error:
                found.append(f"{group[-1].name}: {error}")
        found += [f"{folder} has no sound backup.json" for folder in era.broken()]
    return count, found


def faults(target: Target, era: Era, backup: Backup, key: str) -> list[str]:
    """Of a backup, those before it that it needs, and all of the log since. key: empty if unknown."""
    try:
        chain = era.chain(backup)
    except LaunchError as error:
        return [str(error)]
    found = [sentence for each in chain for sentence in _of_files(each)]
    if key:
        found += _of_secrets(backup, key)
    return found + wal.faults(tools(), era.log, backup.timeline, backup.start, backup.end, target.system)


def _groups(backups: Sequence[Backup]) -> Iterator[list[Backup]]:
    """Full ones, each with those that build on it."""
    group: list[Backup] = []
    for backup in backups:
        if group and not backup.parent:
            yield group
            group = []
        group.append(backup)
    if group:
        yield group


def _of_group(target: Target, name: str, names: Collection[str], key: str) -> Iterator[str]:
    [era] = [era for era in target.eras() if era.name == name]
    for backup in era.backups():
        if backup.name in names:
            yield from (f"{backup.name}: {fault}" for fault in faults(target, era, backup, key))


def _of_files(backup: Backup) -> Iterator[str]:
    yield from database.faults(backup.postgres)
    for name, expected in backup.digests.items():
        path = backup.folder / name
        if not path.is_file():
            yield f"{path} is missing"
        elif database.digest(path) != expected:
            yield f"{path} has changed"


def _of_secrets(backup: Backup, key: str) -> Iterator[str]:
    path = backup.folder / SECRETS
    try:
        vault.unseal(path.read_bytes(), key)
    except OSError:
        return  # Listed as missing.
    except LaunchError as error:
        yield f"{path}: {error}"
