"""Errors reported to the user."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path


class LaunchError(Exception):
    """What is wrong and what to do, with a program's last log lines."""

    def __init__(self, message: str, last_lines: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.last_lines = tuple(last_lines)
        for line in last_lines:
            # For a traceback.
            self.add_note(line)


class Cancelled(Exception):
    """Another part of the same start has failed."""


def is_of_a_disk(error: OSError) -> bool:
    """Full, or not writable."""
    return error.errno in _ADVICE


def from_os_error(error: OSError, state: Path) -> LaunchError:
    """A full disk, missing permission and the like. state: the folder that SOUK_STATE_DIR names."""
    where = f" ({error.filename})" if error.filename else ""
    advice = _ADVICE.get(error.errno or 0, "fix that")
    if error.errno in _OF_A_FOLDER and error.filename and _is_of(Path(os.fsdecode(error.filename)), state):
        advice += ", or choose another folder with SOUK_STATE_DIR,"
    return LaunchError(f"{error.strerror or error}{where}: {advice} and try again.")


_ADVICE = {
    errno.ENOSPC: "free about 1 GB",
    errno.EDQUOT: "free about 1 GB",
    errno.EACCES: "get permission",
    errno.EPERM: "get permission",
    errno.EROFS: "make it writable",
}

_OF_A_FOLDER = (errno.EACCES, errno.EPERM, errno.EROFS)


def _is_of(file: Path, folder: Path) -> bool:
    """In it, or where it has to be made."""
    return file.absolute().is_relative_to(folder) or folder.is_relative_to(file.absolute())
