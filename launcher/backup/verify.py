"""What is wrong with backups, without starting them. `./souk drill restore` starts one."""

from collections.abc import Iterator

from launcher.backup import database, vault, wal
from launcher.backup.create import SECRETS
from launcher.backup.target import Backup, Era, Target
from launcher.errors import LaunchError
from launcher.servers.postgres import tools


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
