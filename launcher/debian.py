"""Unpacks single Debian packages without installing them."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from launcher.errors import LaunchError

APT = Path("/etc/apt")
TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Package:
    path: str
    """Below the mirror's root."""

    sha256: str


def architecture() -> str | None:
    """None outside Debian."""
    if not shutil.which("dpkg-deb"):
        return None
    return subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip()


def mirrors(apt: Path) -> list[str]:
    """Roots of the main archive, in apt's order."""
    found = dict.fromkeys(uri.rstrip("/") for file in _source_files(apt) for uri in _uris(file.read_text()))
    return [uri for uri in found if uri.startswith(("http://", "https://")) and uri.endswith("/debian")]


def unpack(package: Package, files: Mapping[str, Path], apt: Path = APT) -> None:
    """`files`: {path in the package: target}."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archive = _fetch(package, apt)
        subprocess.run(["dpkg-deb", "-x", str(archive), str(folder)], check=True, capture_output=True)
        for path, target in files.items():
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # A partial copy must never look complete.
            shutil.copy2(folder / path, target.with_suffix(".new"))
            target.with_suffix(".new").replace(target)


def _fetch(package: Package, apt: Path) -> Path:
    """Verified, maybe cached."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "souk"
    archive = cache / f"{package.sha256}.deb"
    if archive.exists() and _sha256(archive) == package.sha256:
        return archive
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    reasons = ["apt has no mirror"]
    for mirror in mirrors(apt):
        with tempfile.NamedTemporaryFile(dir=cache) as fresh:
            try:
                _download(f"{mirror}/{package.path}", fresh)
            except OSError as error:
                reasons.append(str(error))
                continue
            if _sha256(Path(fresh.name)) == package.sha256:
                shutil.copyfile(fresh.name, archive)
                return archive
            reasons.append("its hash differs from the pinned one")
    raise LaunchError(f"{Path(package.path).name} could not be fetched ({reasons[-1]}).")


def _download(url: str, target: IO[bytes]) -> None:
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
        shutil.copyfileobj(response, target)
    target.flush()


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _source_files(folder: Path) -> Iterator[Path]:
    if (folder / "sources.list").is_file():
        yield folder / "sources.list"
    parts = folder / "sources.list.d"
    yield from sorted([*parts.glob("*.sources"), *parts.glob("*.list")]) if parts.is_dir() else ()


def _uris(text: str) -> Iterator[str]:
    """From one-line and deb822 sources."""
    for line in text.splitlines():
        one_line = re.match(r"deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s", line)
        if one_line:
            yield one_line[1]
        elif line.lower().startswith("uris:"):
            yield from line.split(":", 1)[1].split()
