"""Writes container images as the archive that containerd and Docker import, without an engine."""

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

SEARCH_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def write_image(
    target: Path,
    name: str,
    files: Mapping[str, Path],
    command: Sequence[str],
    layers: Sequence[Path] = (),
    owner: int = 0,
) -> Path:
    """files: {path in the image: source}, in one layer above `layers` (uncompressed tars). owner: user id, of the files."""

    def owned(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if entry.name.endswith("__pycache__"):
            return None
        entry.uid = entry.gid = owner
        entry.uname = entry.gname = ""
        return entry

    top = target.with_suffix(".layer")
    with tarfile.open(top, "w") as tar:
        for path, source in sorted(files.items()):
            tar.add(source, path.lstrip("/"), filter=owned)
    digests = {_sha256(layer): layer for layer in (*layers, top)}
    configuration = _json(
        architecture=ARCHITECTURES[platform.machine()],
        os="linux",
        config={"Cmd": list(command), "Env": [SEARCH_PATH]},
        rootfs={"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
    )
    configuration_name = f"{hashlib.sha256(configuration).hexdigest()}.json"
    manifest = {"Config": configuration_name, "RepoTags": [name], "Layers": [f"{digest}.tar" for digest in digests]}
    with tarfile.open(target, "w") as tar:
        for digest, layer in digests.items():
            tar.add(layer, f"{digest}.tar")
        _add(tar, configuration_name, configuration)
        _add(tar, "manifest.json", json.dumps([manifest]).encode())
    top.unlink()
    return target


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _json(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
