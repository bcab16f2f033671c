"""Where backups go: SOUK_BACKUP_DIR names a folder or a bucket."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from launcher.backup import s3
from launcher.backup.remote import BucketTarget
from launcher.backup.target import VARIABLE, Target
from launcher.errors import LaunchError
from launcher.state import StateFolder


def at(given: str, state: StateFolder, environment: Mapping[str, str]) -> Target:
    """Whether or not it is ready. Raises LaunchError."""
    if not given:
        raise LaunchError(
            f"No backups: set {VARIABLE} to a folder on another disk, or s3://bucket/prefix, and run ./souk backup init."
        )
    if not given.startswith(s3.SCHEME):
        return Target(Path(given).absolute())
    state.make()
    bucket = s3.Bucket(given, environment.get(s3.ALLOW_HTTP) == "1")
    return BucketTarget(bucket, state.path / "backups" / hashlib.sha256(bucket.url.encode()).hexdigest()[:12])


def opened(state: StateFolder, environment: Mapping[str, str]) -> Target:
    """Raises LaunchError unless it is ready."""
    target = at(environment.get(VARIABLE, ""), state, environment)
    target.expect_ready()
    return target
