"""What a person gets to read when something is missing or broken."""

import errno
from collections.abc import Sequence


class LaunchError(Exception):
    """One line that says what is wrong and what to do, and for a program that died its last log lines."""

    def __init__(self, message: str, last_lines: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.last_lines = tuple(last_lines)


class Cancelled(Exception):
    """Another part of the same start has failed, so this one stops waiting."""


def from_os_error(error: OSError) -> LaunchError:
    """The full disk or the folder without write permission, in one line."""
    where = f" ({error.filename})" if error.filename else ""
    advice = _ADVICE.get(error.errno or 0, "mend that")
    return LaunchError(f"{error.strerror or error}{where}: {advice} and run this again.")


_ADVICE = {
    errno.ENOSPC: "free about 1 GB",
    errno.EDQUOT: "free about 1 GB",
    errno.EACCES: "give yourself permission, or choose another folder by SOUK_STATE_DIR,",
    errno.EPERM: "give yourself permission, or choose another folder by SOUK_STATE_DIR,",
    errno.EROFS: "choose another folder by SOUK_STATE_DIR",
}
