"""Errors reported to the user."""

import errno
from collections.abc import Sequence


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


def from_os_error(error: OSError) -> LaunchError:
    """A full disk, missing permission and the like."""
    where = f" ({error.filename})" if error.filename else ""
    advice = _ADVICE.get(error.errno or 0, "fix that")
    return LaunchError(f"{error.strerror or error}{where}: {advice} and try again.")


_ADVICE = {
    errno.ENOSPC: "free about 1 GB",
    errno.EDQUOT: "free about 1 GB",
    errno.EACCES: "get write permission, or choose another folder with SOUK_STATE_DIR,",
    errno.EPERM: "get write permission, or choose another folder with SOUK_STATE_DIR,",
    errno.EROFS: "choose another folder with SOUK_STATE_DIR",
}
