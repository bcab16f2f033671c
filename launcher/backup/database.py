"""PostgreSQL's part of a backup: its files, whole or as what changed since another backup, and whether they are still right."""

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.backup import wal
from launcher.backup.target import MANIFEST
from launcher.errors import LaunchError
from launcher.servers import Postgres
from launcher.servers.postgres import BACKUP, tools

LAST_LINES = 5


@dataclass(frozen=True)
class Copied:
    timeline: int
    start: int
    end: int


def copy(server: Postgres, folder: Path, since: Path | None) -> Copied:
    """since: the folder of an earlier copy, whose changes alone are copied."""
    options: list[str | Path] = [
        "--checkpoint=fast",
        "--wal-method=none",
        "--manifest-checksums=SHA256",
        "--no-password",
    ]
    if since is not None:
        options.append(f"--incremental={since / MANIFEST}")
    address = ["--host=127.0.0.1", f"--port={server.port('postgres')}", f"--username={BACKUP}"]
    command = [tools() / "pg_basebackup", f"--pgdata={folder}", *address, *options]
    _run(command, PGPASSWORD=server.secret("backup-database"))
    [found] = _manifest(folder)["WAL-Ranges"]
    return Copied(found["Timeline"], wal.position_of(found["Start-LSN"]), wal.position_of(found["End-LSN"]))


def combine(chain: Sequence[Path], folder: Path) -> None:
    """A full copy and what changed, in order, to one that can be started."""
    _run([tools() / "pg_combinebackup", "--no-manifest", *chain, f"--output={folder}"])


def faults(folder: Path) -> Iterator[str]:
    """Files that are missing or changed. By hand: the wheel's pg_verifybackup crashes."""
    try:
        manifest = _manifest(folder)
        files = manifest["Files"]
    except (OSError, ValueError, KeyError) as error:
        yield f"{folder / MANIFEST} is broken: {error}"
        return
    whole, _, last = (folder / MANIFEST).read_bytes().rpartition(b'"Manifest-Checksum"')
    if hashlib.sha256(whole).hexdigest() != json.loads(b'{"Manifest-Checksum"' + last)["Manifest-Checksum"]:
        yield f"{folder / MANIFEST} has changed"
    for file in files:
        path = folder / (file.get("Path") or bytes.fromhex(file["Encoded-Path"]).decode())
        if not path.is_file():
            yield f"{path} is missing"
        elif path.stat().st_size != file["Size"] or digest(path) != file["Checksum"]:
            yield f"{path} has changed"


def digest(path: Path) -> str:
    """SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    return found


def _run(command: Sequence[str | Path], **environment: str) -> None:
    """Ends with this program, even if that is killed: what it writes would be in the next one's way."""
    outcome = subprocess.run(
        ["setpriv", "--pdeathsig=KILL", *command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        umask=0o077,
        check=False,
    )
    if outcome.returncode:
        lines = (outcome.stdout + outcome.stderr).splitlines()
        raise LaunchError(f"{Path(command[0]).name} failed; its last lines:", lines[-LAST_LINES:])
