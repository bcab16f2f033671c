"""A small disk, to be filled."""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from launcher.state import StateFolder

BLOCK_BYTES = 65_536


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own in `folder`. Skips the test where mounting is not allowed."""
    folder.mkdir()
    options = f"size={megabytes}m,mode=0755"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "souk-test", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"NOT TESTED on a full disk: mounting is not allowed here ({mounted.stderr.strip()}).")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def with_all_data(disk: Path) -> Iterator[None]:
    """PostgreSQL's data of an installation in `disk`/state is there too, and its user passes through."""
    disk.parent.chmod(0o755)
    system_folder = StateFolder(disk / "state").system_folder
    if os.geteuid() == 0:
        system_folder.parent.mkdir(mode=0o755, exist_ok=True)
        (disk / "system").mkdir(mode=0o755)
        system_folder.symlink_to(disk / "system")
    try:
        yield
    finally:
        system_folder.unlink(missing_ok=True)


def fill(folder: Path) -> Path:
    """A file that takes all that is free."""
    ballast = folder / "ballast"
    with open(ballast, "ab", buffering=0) as file:
        for size in (BLOCK_BYTES, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
    return ballast
