"""Debian packages, on a machine whose owner is root: installs them without letting them start a system service."""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from launcher.errors import LaunchError

POLICY = Path("/usr/sbin/policy-rc.d")
"""Debian's own switch: package scripts ask it before they start a service, and 101 forbids."""

_OURS = "#!/bin/sh\n# Put here by the launcher of Souk while it installs packages.\nexit 101\n"
_one_at_a_time = threading.Lock()


def is_available() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(packages: Sequence[str], units: Sequence[str]) -> None:
    """Install packages whose system services (`units`) neither start now nor at the next boot."""
    with _one_at_a_time, no_service_starts():
        if _apt_get("install", "--no-install-recommends", *packages).returncode:
            # The usual reason on a fresh machine: it has no package lists yet, or they are old.
            update, install = _apt_get("update"), _apt_get("install", "--no-install-recommends", *packages)
            if install.returncode:
                # A package that cannot be found is often only the consequence of a list that could not be fetched.
                reason = _line(update, "Failed to fetch") or _line(install, "E:") or "no reason given"
                raise LaunchError(
                    f"apt-get could not install {' '.join(packages)} ({reason}): mend apt or the network and run this again."
                )
    if shutil.which("systemctl"):
        subprocess.run(["systemctl", "disable", "--quiet", *units], check=False, capture_output=True)


def _apt_get(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["apt-get", "-y", "-q", "-o", "DPkg::Lock::Timeout=120", *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def _line(outcome: "subprocess.CompletedProcess[str]", mark: str) -> str:
    """The first line on apt's standard error with this mark in it, without apt's own prefix."""
    found = next((line for line in outcome.stderr.splitlines() if mark in line), "")
    return found.removeprefix("E:").removeprefix("W:").strip()


@contextmanager
def no_service_starts(policy: Path = POLICY) -> Iterator[None]:
    """Forbid service starts, and leave the switch as it was found."""
    found = policy.read_text() if policy.exists() else None
    mode = policy.stat().st_mode if found is not None else 0
    try:
        policy.write_text(_OURS)
        policy.chmod(0o755)
        yield
    finally:
        if found is None or found == _OURS:
            policy.unlink(missing_ok=True)
        else:
            policy.write_text(found)
            policy.chmod(mode)
