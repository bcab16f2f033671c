"""Installs Debian packages, as root, without starting their services."""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from launcher.errors import LaunchError

POLICY = Path("/usr/sbin/policy-rc.d")
"""Asked before a package starts a service; exit code 101 forbids it."""

_OURS = "#!/bin/sh\n# Written by Souk's launcher while it installs packages.\nexit 101\n"
_one_at_a_time = threading.Lock()


def is_available() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(packages: Sequence[str], units: Sequence[str]) -> None:
    """`units`, their services, start neither now nor at boot."""
    with _one_at_a_time, no_service_starts():
        if _apt_get("install", "--no-install-recommends", *packages).returncode:
            # A fresh machine often has no package lists, or old ones.
            update, install = _apt_get("update"), _apt_get("install", "--no-install-recommends", *packages)
            if install.returncode:
                # The cause is often a list that could not be fetched.
                reason = _line(update, "Failed to fetch") or _line(install, "E:") or "no reason given"
                raise LaunchError(
                    f"apt-get could not install {' '.join(packages)} ({reason}): fix apt or the network and try again."
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
    """The first line with `mark`, without apt's prefix."""
    found = next((line for line in outcome.stderr.splitlines() if mark in line), "")
    return found.removeprefix("E:").removeprefix("W:").strip()


@contextmanager
def no_service_starts(policy: Path = POLICY) -> Iterator[None]:
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
